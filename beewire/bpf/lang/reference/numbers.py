"""Integers of the reference, and what is computed with them."""

from collections.abc import Callable
from typing import NamedTuple

from beewire.bpf.lang.ints import arithmetic, fold, quotient, remainder
from beewire.bpf.lang.ints import inverse as inverse_of
from beewire.bpf.lang.types import BOOL, I64, NETWORK, IntType, swap


class Number(NamedTuple):
    """An integer; `type` None for a literal, which adapts to what it meets."""

    value: int
    type: IntType | None = None

    @property
    def operand(self) -> IntType | int:
        """What the rules of types want to know of it."""
        return self.value if self.type is None else self.type

    def narrowed(self, kind: IntType) -> "Number":
        """The number of type `kind` with the same low bits."""
        return Number(kind.wrap(self.value), kind)


def truth(value: bool) -> Number:  # noqa: FBT001 - it is the value
    """A bool."""
    return Number(int(value), BOOL)


def calculate(symbol: str, left: Number, right: Number) -> Number:
    """`left symbol right`, by the rules."""
    if left.type is None and right.type is None:
        return Number(fold(symbol, left.value, right.value))
    if symbol == "**":
        symbol, right = "*", left
    kind = arithmetic(symbol, left.operand, right.operand)
    a, b = left.value, right.value
    if symbol in {"<<", ">>"}:
        narrow = left.type is not None and left.type.bits <= 32
        b %= 32 if narrow else 64
    else:
        a, b = kind.wrap(a), kind.wrap(b)
    return Number(kind.wrap(_ARITHMETIC[symbol](a, b)), kind)


_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": quotient,
    "%": remainder,
    "<<": lambda a, b: a << b,
    ">>": lambda a, b: a >> b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
}


def negative(number: Number) -> Number:
    """`-number`: meant as negative, whatever it was."""
    if number.type is None:
        return Number(-number.value)
    return Number(I64.wrap(-number.value), I64)


def inverse(number: Number) -> Number:
    """`~number`."""
    if number.type is None:
        return Number(inverse_of(number.value))
    ones = number.type.high if number.type.is_big_endian else -1
    return calculate("^", number, Number(ones))


def in_order(kind: IntType, number: Number) -> Number:
    """`be16(number)`: the low bits, in network order; a literal stays one."""
    value = swap(number.value & kind.high, kind.bits)
    if number.type is None:
        return Number(NETWORK[kind.bits](value))
    return Number(value, kind)
