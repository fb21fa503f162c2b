"""The rules of byte order: numbers in network order meet only their like.

be16, be32 and be64 are in network order for certain. What `htons()` and its kin give,
and what a context holds in network order, goes into a be type and into a plain one.
0, and a number of ones only, are the same in any order.
"""

from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.types import IntType, Network, network_type
from beewire.reasons import Reason

TO_HOST = {16: "ntohs", 32: "ntohl", 64: "bswap64"}
_BITWISE = frozenset({"&", "|", "^", "==", "!=", "either"})


def meet(symbol: str, a: IntType | int, b: IntType | int) -> IntType | None:
    """The type of `a symbol b` where the byte order decides it; else None.

    Raises:
        Rule: One is in network order and the other is not, or `symbol` makes no sense
            of such numbers.
    """
    if not network_of(a) and not network_of(b):
        return None
    strict = next((x for x in (a, b) if is_strict(x)), None)
    if strict is None:
        same = network_of(a) == network_of(b) and symbol in _BITWISE
        return network_type(64, network_of(a)) if same else None
    assert isinstance(strict, IntType)
    host = f"{TO_HOST[strict.bits]}()"
    if symbol not in _BITWISE:
        raise Rule(
            Reason.BYTE_ORDER,
            f"{symbol!r} of a number in network order ({strict.name})",
            f"convert it to host order first: {host}",
        )
    other = b if a is strict else a
    if isinstance(other, IntType):
        if other.network == strict.network:
            return strict
        sides = "" if symbol == "either" else f"{symbol!r}: "
        raise Rule(
            Reason.BYTE_ORDER,
            f"{sides}one side is in network order ({strict.name}), the other is not "
            f"({other.name})",
            f"convert one of them: {host} or {strict.name}()",
        )
    check_literal_order(other, strict)
    return strict


def check_order(kind: IntType, into: IntType) -> None:
    """Refuse a number of one byte order where the other is due.

    Raises:
        Rule: It is.
    """
    if kind.network == into.network:
        return
    if into.is_big_endian:
        hint = f"convert it: {into.name}()"
        if kind.network:
            hint = f"it has {kind.network} bits, not {into.network}"
        message = f"{kind.name} does not go into {into.name}, which is in network order"
        raise Rule(Reason.BYTE_ORDER, message, hint)
    if kind.is_big_endian:
        raise Rule(
            Reason.BYTE_ORDER,
            f"{kind.name} is in network order, and does not go into {into.name}",
            f"convert it: {TO_HOST[kind.bits]}()",
        )


def check_literal_order(value: int, into: IntType) -> None:
    """As `check_order`, for a literal.

    Raises:
        Rule: It is in host order, and `into` is not.
    """
    if not into.is_big_endian or value in {0, into.high}:
        return
    if isinstance(value, Network) and value.bits == into.bits:
        return
    raise Rule(
        Reason.BYTE_ORDER,
        f"{value} is in host order, {into.name} in network order",
        f"write {into.name}({value})",
    )


def is_strict(operand: IntType | int) -> bool:
    """Whether an operand is in network order for certain."""
    return isinstance(operand, IntType) and operand.is_big_endian


def network_of(operand: IntType | int) -> int:
    """How many bits of an operand are, or may be, in network order."""
    if isinstance(operand, IntType):
        return operand.network
    return operand.bits if isinstance(operand, Network) else 0
