"""How fast is a hash of 100,000 entries read into Python?

The map: u32 keys, u64 values, 100,000 of each. dict: `table.to_dict()`. numpy:
`table.to_numpy()`. fallback: the same dict where the kernel has no batches, by two system
calls for each entry. kernel: what the batch commands alone take, with the results thrown
away. Rounds are interleaved, and each speed-up is taken within its round, so that a
machine that slows down does so for all of them. _us is microseconds an entry, of this
thread's CPU time, the kernel's included: it waits for nothing.
"""

import sys
import time
from collections.abc import Callable

from _report import Figure, machine, measured, missing, options, show, write

from beewire.bpf import HashMap, u32, u64
from beewire.bpf.kernel.maps.walk import count_entries
from beewire.errors import BeewireError, MapError

ENTRIES = 100_000
AGAINST = "our own walk by next keys"

table = HashMap[u32, u64](max_entries=ENTRIES, name="bw_bench")


def main(argv: list[str]) -> int:
    """Measure, print and write."""
    asked = options(argv, __doc__ or "", rounds=15)
    host = machine()
    with table.load() as entries:
        figures = measure(entries, asked.rounds)
    show(figures)
    if asked.json:
        write(asked.json, "maps", host, asked.rounds, figures)
    return 0


def measure(entries: HashMap[int, int], rounds: int) -> dict[str, Figure]:
    """The figures of a full map, which is empty at the end."""
    live = entries.live
    wanted = {key: key * 3 for key in range(ENTRIES)}
    ways: dict[str, Callable[[], object]] = {
        "update": lambda: entries.update(wanted),
        "kernel": lambda: count_entries(live._shape()),
        "dict": entries.to_dict,
        "items": lambda: [None for _ in entries.items()],
        "numpy": entries.to_numpy,
        "fallback": lambda: _one_by_one(entries),
        "clear": entries.clear,
    }
    try:
        entries.to_numpy()
    except MapError as error:
        without = str(error)
        del ways["numpy"]
    entries.update(wanted)
    if entries.to_dict() != wanted or _one_by_one(entries) != wanted:
        raise MapError("what was read is not what was written")
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            took[name].append(_seconds(way))
    figures = {
        "batch_speedup": _ratio(took["fallback"], took["dict"]),
        "numpy_speedup": _ratio(took["fallback"], took["numpy"])
        if "numpy" in took
        else missing("ratio", without, AGAINST),
    }
    for name, samples in took.items():
        us = [seconds / ENTRIES * 1e6 for seconds in samples]
        figures[f"{name}_us"] = measured(us, "us")
    return figures


def _one_by_one(entries: HashMap[int, int]) -> dict[int, int]:
    live = entries.live
    live.batched = False
    try:
        return entries.to_dict()
    finally:
        live.batched = True


def _seconds(way: Callable[[], object]) -> float:
    start = time.thread_time()
    way()
    return time.thread_time() - start


def _ratio(slow: list[float], fast: list[float]) -> Figure:
    samples = [one / other for one, other in zip(slow, fast, strict=True)]
    return measured(samples, "ratio", AGAINST)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BeewireError as error:
        sys.exit(f"maps: {error}")
