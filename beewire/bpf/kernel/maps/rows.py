"""Many keys or values at once: packed bytes <-> Python values, without a loop for each."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from struct import Struct, error, pack
from typing import Any

from beewire.bpf.kernel.maps.codec import Rows

# Formats that memoryview.cast and struct read alike, and that take nothing but integers.
_INTEGERS = frozenset("bBhHiIqQ")

Decode = Callable[[memoryview], Iterable[Any]]


def reader(
    rows: Rows | None, decode: Callable[[bytes], Any], size: int, stride: int
) -> Decode:
    """What turns packed items into Python values.

    Each has `size` bytes and begins `stride` bytes after the one before it. `decode` is
    for items without a format that `rows` would name.
    """
    if rows is None:
        return lambda view: [
            decode(bytes(view[at : at + size])) for at in range(0, len(view), stride)
        ]
    if rows.make is None and size == stride and rows.order == "=":
        return lambda view: view.cast(rows.format)  # type: ignore[call-overload]  # an integer's
    layout = Struct(f"{rows.order}{rows.format}{stride - size}x")
    if rows.make is None:
        return lambda view: chain.from_iterable(layout.iter_unpack(view))
    make = rows.make
    return lambda view: make(layout.iter_unpack(view))


def packed(
    rows: Rows | None, encode: Callable[[Any], bytes], values: Sequence[Any]
) -> bytearray:
    """`values` one after the other, as `encode` makes bytes of each.

    Raises:
        EncodingError: one of them does not fit.
    """
    if rows is not None and rows.make is None and rows.format in _INTEGERS:
        try:
            return bytearray(pack(f"{rows.order}{len(values)}{rows.format}", *values))
        except error:
            pass  # `encode` says which it is
    return bytearray().join(map(encode, values))
