"""Why the kernel does not create a map. Imported only after a refusal."""

import errno

from beewire.bpf.kernel.features import MapFlag, map_flag, map_type
from beewire.bpf.object import MapKind, MapSpec
from beewire.errors import KernelError

_RULES = {
    MapKind.RINGBUF: "max_entries is the size in bytes: a power of two and a multiple of "
    "the page size; keys and values have size 0",
    MapKind.LPM_TRIE: "keys are 5 to 260 bytes: a 4-byte prefix length, then data",
    MapKind.SOCKMAP: "keys are 4 bytes, values 4 or 8",
    MapKind.SOCKHASH: "values are 4 or 8 bytes, keys at most 512",
    MapKind.SK_STORAGE: "keys are 4 bytes, max_entries is 0",
    MapKind.ARRAY: "keys are 4 bytes, values at least 1, max_entries at least 1",
    MapKind.PERCPU_ARRAY: "keys are 4 bytes, values at least 1 and at most 32 KiB, "
    "max_entries at least 1",
}


def explain_refusal(spec: MapSpec, error: KernelError) -> None:
    """Add to `error` what the kernel asks of such a map.

    Raises:
        NotSupported: this kernel has no maps of this kind.
    """
    if error.errno not in (errno.EINVAL, errno.E2BIG):
        return
    kind = map_type(spec.kind)
    if not kind and not kind.unknown:
        kind.require()
    for flag in MapFlag:
        answer = map_flag(flag, spec.kind) if spec.flags & flag else None
        if answer is not None and not answer and not answer.unknown:
            error.add_note(f"this kernel takes no {spec.kind.name} with {flag.name}")
    rule = _RULES.get(spec.kind, "keys and values are at least 1 byte, max_entries too")
    error.add_note(
        f"it was asked for a {spec.kind.name} with keys of {spec.key_size} bytes, values "
        f"of {spec.value_size} bytes, max_entries={spec.max_entries} and flags "
        f"{spec.flags:#x}; {rule}"
    )
