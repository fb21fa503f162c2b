"""Records, maps and globals as lines of text."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from beewire.bpf.author import Array, PerCpu, PerCpuArray
from beewire.bpf.author.ring import Records
from beewire.bpf.lang import GlobalDecl, MapDecl, Struct

MOST = 20  # entries of one map that are shown


def value_text(value: object) -> str:
    """A value in one line: a struct by its fields, a per-CPU value by its sum."""
    if isinstance(value, Struct):
        return " ".join(f"{name}={value_text(v)}" for name, v in vars(value).items())
    if isinstance(value, PerCpu):
        return value_text(combined(value))
    return str(value) if isinstance(value, int) else repr(value)


def combined(values: PerCpu[Any]) -> object:
    """The sum over CPUs where there is one; else the list."""
    if all(isinstance(value, int) for value in values):
        return sum(values)
    return list(values)


def maps_text(maps: Iterable[MapDecl]) -> list[str]:
    """What is in every map that can be listed, the largest numbers first."""
    lines = []
    for declared in maps:
        if not isinstance(declared, Mapping):
            continue  # rings, and what belongs to sockets
        # In an array every key is there, with zero where nothing was written.
        every = not isinstance(declared, Array | PerCpuArray)
        entries = [each for each in declared.items() if every or says(each[1])]
        entries.sort(key=weight, reverse=True)
        plural = "entry" if len(entries) == 1 else "entries"
        kind = type(declared).__name__
        lines.append(f"{declared.name} ({kind}): {len(entries)} {plural}")
        shown = [(value_text(key), value_text(value)) for key, value in entries[:MOST]]
        width = max((len(key) for key, _ in shown), default=0)
        lines += [f"  {key:<{width}}  {value}" for key, value in shown]
        if len(entries) > MOST:
            lines.append(f"  and {len(entries) - MOST} more")
    return lines


def globals_text(variables: Iterable[GlobalDecl]) -> list[str]:
    """The globals' values."""
    return [
        f"{declared.name} = {value_text(declared.value)}"  # type: ignore[attr-defined]  # as Global's Variable has it
        for declared in variables
    ]


def says(value: object) -> bool:
    """Whether a value is anything but zero."""
    if isinstance(value, PerCpu):
        return any(says(each) for each in value)
    return any(value.to_bytes()) if isinstance(value, Struct) else value != 0


def weight(entry: tuple[object, object]) -> int:
    """What entries are sorted by: their number, if that is what they are."""
    value = combined(entry[1]) if isinstance(entry[1], PerCpu) else entry[1]
    return value if isinstance(value, int) else 0


def dropped_text(rings: Iterable[Records[Any]]) -> Iterator[str]:
    """What programs could not send: a line for each buffer that was full."""
    for ring in rings:
        if ring.dropped:
            yield (
                f"beewire: {ring.name}: {ring.dropped} records dropped, for the buffer "
                "was full: make it larger"
            )
