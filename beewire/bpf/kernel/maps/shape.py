"""What reading and writing many entries needs to know of a map."""

from beewire.bpf.object import MapKind
from beewire.rows import Row

# Keys, values, and how many of each: packed one after the other.
Chunk = tuple[memoryview, memoryview, int]


class Shape(Row):
    """A map for whoever walks it; sizes in bytes, values for all CPUs.

    `flags` are those of every element (BPF_F_LOCK). Where it is not `batched`, entries
    are read one after the other, as by kernels without batches.
    """

    fd: int
    name: str
    kind: MapKind
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    batched: bool = True


def refusal(number: int, command: str, shape: Shape) -> Exception:
    """The error for a refused walk."""
    from beewire.bpf.kernel import explain  # noqa: PLC0415 - errors only

    return explain.refusal(number, command, f"read map {shape.name!r}")
