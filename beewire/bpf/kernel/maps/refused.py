"""Why the kernel refuses a map, or an operation on one. Imported only after a refusal."""

import errno

from beewire.bpf.kernel import explain
from beewire.bpf.kernel.features import MapFlag, map_flag, map_type
from beewire.bpf.object import MapKind, MapSpec
from beewire.errors import KernelError, MapError, NotSupported

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
# Since when their entries are read and deleted in one step.
_TAKEN_SINCE = {
    MapKind.HASH: "5.14",
    MapKind.LRU_HASH: "5.14",
    MapKind.PERCPU_HASH: "5.14",
    MapKind.LRU_PERCPU_HASH: "5.14",
}
_UNSUPPORTED = (errno.EINVAL, errno.EOPNOTSUPP, explain.ENOTSUPP)


def operation(
    spec: MapSpec, number: int, command: str, words: tuple[str, object, str]
) -> Exception:
    """The error for an operation on one entry.

    `words` are the verb ("write"), the key, and what the kind of map asks for.
    """
    verb, key, rule = words
    # A trie says ENOSPC where the others say E2BIG.
    if number in (errno.E2BIG, errno.ENOSPC):
        limit = spec.max_entries
        return MapError(f"map {spec.name!r} is full: it holds at most {limit} entries")
    if number == errno.EPERM and command != "MAP_LOOKUP_ELEM":
        return MapError(f"cannot {verb} map {spec.name!r}: it is frozen or read-only")
    if number not in _UNSUPPORTED:
        return explain.refusal(number, command, f"{verb} map {spec.name!r}")
    if command == "MAP_LOOKUP_AND_DELETE_ELEM" and spec.kind in _TAKEN_SINCE:
        what = f"take(), which removes one entry of a {spec.kind.name} map in one step"
        return NotSupported(number, what, _TAKEN_SINCE[spec.kind])
    return MapError(f"cannot {verb} map {spec.name!r} at {key!r}: {rule}")


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
            error.add_note(
                f"this kernel takes no {spec.kind.name} map with the flag {flag.name}"
            )
    rule = _RULES.get(spec.kind, "keys and values are at least 1 byte, max_entries too")
    error.add_note(
        f"it was asked for {spec.kind.name} with keys of {spec.key_size} bytes, values "
        f"of {spec.value_size} bytes, max_entries={spec.max_entries} and flags "
        f"{spec.flags:#x}; {rule}"
    )
