"""The names of perf events, as perf-list(1) has them."""

from beewire.errors import AttachError
from beewire.rows import Row

_HARDWARE, _SOFTWARE, _CACHE, _RAW = 0, 1, 3, 4  # enum perf_type_id

# enum perf_sw_ids and enum perf_hw_id, in the kernel's order.
_SOFTWARE_NAMES = (
    "cpu-clock", "task-clock", "page-faults", "context-switches", "cpu-migrations",
    "minor-faults", "major-faults", "alignment-faults", "emulation-faults", "dummy",
    "bpf-output", "cgroup-switches",
)  # fmt: skip
_HARDWARE_NAMES = (
    "cpu-cycles", "instructions", "cache-references", "cache-misses",
    "branch-instructions", "branch-misses", "bus-cycles", "stalled-cycles-frontend",
    "stalled-cycles-backend", "ref-cycles",
)  # fmt: skip
_SHORT = {
    "cycles": "cpu-cycles",
    "branches": "branch-instructions",
    "faults": "page-faults",
    "cs": "context-switches",
    "migrations": "cpu-migrations",
}
# enum perf_hw_cache_id, ..._op_id; results are accesses and misses.
_CACHES = ("L1-dcache", "L1-icache", "LLC", "dTLB", "iTLB", "branch", "node")
_OPERATIONS = ("load", "store", "prefetch")


class Event(Row):
    """`type` and `config` of `struct perf_event_attr`."""

    type: int
    config: int


def event_names() -> list[str]:
    """All names, but for raw events (`rHEX`)."""
    return [*_SOFTWARE_NAMES, *_HARDWARE_NAMES, *_caches()]


def find_event(name: str) -> Event:
    """The event of a name such as "cpu-clock", "LLC-load-misses" or "r1a8".

    Raises:
        AttachError: there is none of that name.
    """
    full = _SHORT.get(name, name)
    if full in _SOFTWARE_NAMES:
        return Event(_SOFTWARE, _SOFTWARE_NAMES.index(full))
    if full in _HARDWARE_NAMES:
        return Event(_HARDWARE, _HARDWARE_NAMES.index(full))
    cache = _caches().get(full)
    if cache is not None:
        return Event(_CACHE, cache)
    if full[:1] == "r":
        try:
            return Event(_RAW, int(full[1:], 16))
        except ValueError:
            pass
    raise AttachError(
        f"there is no perf event {name!r}; there are {', '.join(_SOFTWARE_NAMES[:7])}, "
        f"{', '.join(_HARDWARE_NAMES[:4])}, LLC-load-misses and the like, and rHEX for "
        "the processor's own"
    )


def _caches() -> dict[str, int]:
    found = {}
    for cache, cache_name in enumerate(_CACHES):
        for operation, operation_name in enumerate(_OPERATIONS):
            config = cache | operation << 8
            found[f"{cache_name}-{operation_name}s"] = config
            found[f"{cache_name}-{operation_name}-misses"] = config | 1 << 16
    return found
