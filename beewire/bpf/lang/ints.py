"""The rules of integers: what type a result has, what may meet what, how literals fold.

An operand is an `IntType`, or the Python int of a literal, which adapts to the other
side. Results are 64 bits wide; they are signed when an operand is.
"""

from beewire.bpf.lang.byte_order import check_literal_order, meet
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.types import I64, U64, IntType, Network, enum_type, network_type
from beewire.reasons import Reason

Operand = IntType | int

_SYMBOLS_THAT_DEPEND_ON_SIGN = frozenset({"//", "%"})


def wide(type_: IntType) -> IntType:
    """The 64-bit type of the same sign, and byte order; of the same flags."""
    if type_.is_big_endian:
        return type_
    if type_.network:
        return network_type(64, type_.network)
    if type_.enum is not None and type_.is_flags:
        return enum_type(type_.enum, 64, signed=type_.signed)
    return I64 if type_.signed else U64


def literal_type(value: int) -> IntType:
    """The type of a literal that meets no other."""
    if isinstance(value, Network):
        return network_type(64, value.bits)
    return I64 if value < 0 else U64


def check_literal(value: int, type_: IntType) -> None:
    """Refuse a literal outside `type_`.

    Raises:
        Rule: It does not fit, or is of another byte order.
    """
    check_range(value, type_)
    check_literal_order(value, type_)


def check_range(value: int, type_: IntType) -> None:
    """As `check_literal`, where the byte order is about to change.

    Raises:
        Rule: It does not fit.
    """
    if type_.holds(value):
        return
    hint = f"{type_.name} holds {type_.low} .. {type_.high}"
    if value < 0 and not type_.signed and type_.low <= value + (1 << type_.bits):
        hint += f"; write {value + (1 << type_.bits):#x} for the same bits"
    elif value > 0 and type_.signed and type_.holds(value - (1 << type_.bits)):
        hint += f"; write {value - (1 << type_.bits)} for the same bits"
    raise Rule(Reason.DOES_NOT_FIT, f"{value} does not fit {type_.name}", hint)


def check_64(value: int) -> int:
    """`value`, unless it needs more than 64 bits.

    Raises:
        Rule: It does.
    """
    if not I64.low <= value <= U64.high:
        raise Rule(
            Reason.DOES_NOT_FIT,
            f"{value} does not fit 64 bits",
            "integers have 64 bits here",
        )
    return value


def arithmetic(symbol: str, a: Operand, b: Operand) -> IntType:
    """The type of `a symbol b`, of which one at least is no literal.

    Raises:
        Rule: The operands do not go together.
    """
    if (ordered := meet(symbol, a, b)) is not None:
        return ordered
    if symbol in {"&", "|", "^"} and (flags := _flags(a, b)) is not None:
        return flags
    if symbol in {"<<", ">>"}:
        if isinstance(b, int) and b < 0:
            raise Rule(Reason.DOES_NOT_FIT, f"a shift by {b}", "shift by 0 or more")
        return literal_type(int(a)) if isinstance(a, int) else _sign(a)
    if isinstance(a, int) or isinstance(b, int):
        return _with_literal(symbol, a, b)
    if a.signed != b.signed and symbol in _SYMBOLS_THAT_DEPEND_ON_SIGN:
        raise _mixed(f"{symbol!r}: ", a, b)
    return I64 if a.signed or b.signed else U64


def _flags(a: Operand, b: Operand) -> IntType | None:
    """The flags that stay flags of the same kind; a literal meets any."""
    kinds = [x for x in (a, b) if isinstance(x, IntType)]
    first = kinds[0]
    if first.enum is None or not first.is_flags:
        return None
    return wide(first) if all(kind.enum is first.enum for kind in kinds) else None


def _with_literal(symbol: str, a: Operand, b: Operand) -> IntType:
    typed, literal = (a, b) if isinstance(a, IntType) else (b, a)
    assert isinstance(typed, IntType)
    assert isinstance(literal, int)
    result = _sign(typed)
    if symbol in _SYMBOLS_THAT_DEPEND_ON_SIGN:
        check_literal(literal, result)
    else:
        check_64(literal)
    return result


def comparison(symbol: str, a: Operand, b: Operand) -> bool:
    """Whether `a symbol b` compares signed; one of them at least is no literal.

    Raises:
        Rule: One is signed and the other is not, or a literal does not fit.
    """
    if meet(symbol, a, b) is not None:
        return False
    if isinstance(a, int) or isinstance(b, int):
        typed, literal = (a, b) if isinstance(a, IntType) else (b, a)
        assert isinstance(typed, IntType)
        assert isinstance(literal, int)
        check_literal(literal, typed)
        return typed.signed
    if a.signed != b.signed:
        raise _mixed(f"{symbol!r}: ", a, b)
    return a.signed


def join(a: Operand, b: Operand) -> IntType:
    """The type of a value that is either `a` or `b`.

    Raises:
        Rule: One is signed and the other is not.
    """
    if (ordered := meet("either", a, b)) is not None:
        return ordered
    if isinstance(a, int) and isinstance(b, int):
        return I64 if a < 0 or b < 0 else U64
    if isinstance(a, int) or isinstance(b, int):
        typed, literal = (a, b) if isinstance(a, IntType) else (b, a)
        assert isinstance(typed, IntType)
        assert isinstance(literal, int)
        check_literal(literal, _sign(typed))
        return wide(typed) if typed.enum is not None else _sign(typed)
    if a.signed != b.signed:
        raise _mixed("", a, b)
    return wide(a) if a.enum is b.enum else _sign(a)


def _sign(type_: IntType) -> IntType:
    return I64 if type_.signed else U64


def fold(symbol: str, a: int, b: int) -> int:
    """`a symbol b` of two literals: as Python's, but // and % truncate toward zero.

    Raises:
        Rule: The result needs more than 64 bits, or a shift goes backwards.
    """
    if symbol in {"<<", ">>", "**"} and (b < 0 or (b > 64 and symbol != ">>")):
        raise Rule(
            Reason.DOES_NOT_FIT,
            f"{a} {symbol} {b} does not fit 64 bits",
            "integers have 64 bits here",
        )
    match symbol:
        case "+":
            result = a + b
        case "-":
            result = a - b
        case "*":
            result = a * b
        case "**":
            result = a**b
        case "//":
            result = quotient(a, b)
        case "%":
            result = remainder(a, b)
        case _:
            result = _fold_bits(symbol, a, b)
    return check_64(result)


def _fold_bits(symbol: str, a: int, b: int) -> int:
    match symbol:
        case "&":
            return _kept(a, b, a & b)
        case "|":
            return _kept(a, b, a | b)
        case "^":
            return _kept(a, b, a ^ b)
        case "<<":
            return a << b
        case ">>":
            return a >> b
        case _:
            raise AssertionError(symbol)


def _kept(a: int, b: int, result: int) -> int:
    """Two numbers in network order make one by bit operations."""
    if isinstance(a, Network) and type(a) is type(b):
        return type(a)(result)
    return result


def inverse(value: int) -> int:
    """`~value`; of a number in network order, its own bits."""
    if isinstance(value, Network):
        return type(value)(value ^ ((1 << value.bits) - 1))
    return ~value


def quotient(a: int, b: int) -> int:
    """`a // b`, truncated toward zero; 0 when b is 0."""
    if b == 0:
        return 0
    magnitude = abs(a) // abs(b)
    return magnitude if (a < 0) == (b < 0) else -magnitude


def remainder(a: int, b: int) -> int:
    """`a % b` with the sign of `a`; `a` when b is 0."""
    return a - quotient(a, b) * b


def _mixed(what: str, a: IntType, b: IntType) -> Rule:
    signed = a if a.signed else b
    unsigned = b if a.signed else a
    return Rule(
        Reason.MIXED_SIGNS,
        f"{what}one side is signed ({signed.name}), the other is not ({unsigned.name})",
        f"give one of them a name of the other's kind first: x: {wide(signed).name} = ...",
    )
