"""Reads the IR's text back, as `text` writes it.

    function = parse_function('''
    function f(ctx: ptr)
    block entry:
      %1 = load u32 ctx [ctx+4]
      return %1
    ''')

Values must stand before their uses, but for the args of Phis. Positions in the source
are not part of the text. A CO-RE type is a `btf.Struct` of that name without members.
"""

import re
from collections.abc import Callable

from beewire.bpf.btf import types as btf
from beewire.bpf.ir.ops import (
    ArenaAddress,
    Atomic,
    AtomicOp,
    Binary,
    BinOp,
    Block,
    Branch,
    Budget,
    ByteSwap,
    Call,
    CallKind,
    CmpOp,
    Const,
    Copy,
    CoreField,
    CoreValue,
    Extend,
    FieldAddress,
    Function,
    FunctionRef,
    GetLocal,
    GlobalRef,
    Jump,
    Kind,
    Load,
    Local,
    MapRef,
    Op,
    Param,
    Phi,
    Return,
    SetLocal,
    Slot,
    Space,
    Span,
    Store,
    SymbolRef,
    Zero,
)
from beewire.errors import DecodingError

_NOWHERE = Span("<ir>", 1, 1, 1, 1)
_ADDRESS = re.compile(r"\[(.+?)([+-]\d+)?\]$")
_WIDTH = re.compile(r"([a-z]+)(\d+)$")
_SLOT = re.compile(r"slot (\S+): (\d+) align (\d+)$")
_CORE = re.compile(r"(\S+) (\S+) kind (\d+) is (-?\d+)$")
_CALL = re.compile(r"(\S+) (\S+) \((.*)\)$")
_KINDS = {kind.name.lower(): kind for kind in Kind}
_SPACES = {space.name.lower(): space for space in Space}
_BINARY = {op.name.lower(): op for op in BinOp}
_COMPARE = {op.name.lower(): op for op in CmpOp}
_ATOMIC = {op.name.lower(): op for op in AtomicOp}
_CALLS = {call.name.lower(): call for call in CallKind}
_HEADER = re.compile(r"function (\S+)\((.*)\)$")


def parse_function(text: str) -> Function:
    """The function that `text` describes.

    Raises:
        DecodingError: a line that says nothing we know; the message names it.
    """
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    reader = _Reader(lines[0] if lines else "")
    for line in lines[1:]:
        try:
            reader.line(line)
        except (KeyError, ValueError, AttributeError, TypeError) as error:
            raise DecodingError(f"no line of IR: {line!r}") from error
    return reader.finish()


class _Reader:
    """What has been read so far."""

    __slots__ = ("blocks", "current", "function", "locals", "phis", "slots", "values")

    def __init__(self, header: str) -> None:
        found = _HEADER.match(header)
        if found is None:
            raise DecodingError(f"no function: {header!r}")
        try:
            params = [
                Param(i, name.strip(), _KINDS[kind.strip()])
                for i, (name, kind) in enumerate(_pairs(found[2]))
            ]
        except KeyError as error:
            raise DecodingError(f"no function: {header!r}") from error
        self.function = Function(found[1], tuple(params), _NOWHERE)
        self.values: dict[str, Op] = {param.name: param for param in params}
        self.blocks: dict[str, Block] = {}
        self.locals: dict[str, Local] = {}
        self.slots: dict[str, Slot] = {}
        self.phis: list[tuple[Phi, str]] = []
        self.current: Block | None = None

    def finish(self) -> Function:
        """Put the Phis' args and the predecessors in."""
        for phi, args in self.phis:
            try:
                phi.args = self.args(args)
            except (KeyError, ValueError) as error:
                raise DecodingError(f"no args of a phi: ({args})") from error
        for block in self.function.blocks:
            for successor in block.successors():
                successor.preds.append(block)
        return self.function

    def line(self, line: str) -> None:
        """Take in one line."""
        if (found := _SLOT.match(line)) is not None:
            self.slots[found[1]] = Slot(found[1], int(found[2]), int(found[3]))
        elif line.startswith("block "):
            self.current = self.block(line[6:].rstrip(":"))
            self.function.blocks.append(self.current)
        elif self.current is not None:
            self.current.ops.append(self.operation(line))
        else:
            raise ValueError(line)

    def operation(self, line: str) -> Op:
        name, equals, text = line.partition(" = ")
        if not equals:
            name, text = "", line
        name, _, kind = name.partition(": ")
        word, _, rest = text.partition(" ")
        op = _RULES[word](self, rest, Kind.PTR if kind == "ptr" else Kind.INT)
        if name:
            self.values[name] = op
        return op

    def block(self, name: str) -> Block:
        return self.blocks.setdefault(name, Block(name))

    def local(self, name: str, kind: Kind) -> Local:
        return self.locals.setdefault(name, Local(name, kind))

    def value(self, text: str) -> Op:
        """A value where it is used."""
        text = text.strip()
        if text.startswith("&"):
            return self.slots[text[1:]]
        if text.startswith("function "):
            return FunctionRef(text[9:])
        if text.startswith("map "):
            return MapRef(text[4:])
        if text.startswith("symbol "):
            return SymbolRef(text[7:])
        if text.startswith("."):
            section, _, offset = text.partition("+")
            return GlobalRef(section, int(offset))
        if text in self.values:
            return self.values[text]
        return Const(int(text))

    def args(self, text: str) -> list[Op]:
        return [self.value(part) for part in text.split(",")] if text.strip() else []

    def address(self, text: str) -> tuple[Op, int]:
        """`[base+offset]`, where a base may itself be `.data+4`."""
        found = _ADDRESS.match(text.strip())
        if found is None:
            raise ValueError(text)
        base, offset = found[1], found[2] or "0"
        if base.startswith(".") and "+" not in base:
            base, offset = base + offset, "0"
        return self.value(base), int(offset)


def _pairs(text: str) -> list[tuple[str, str]]:
    parts = [part.partition(":") for part in text.split(",") if part.strip()]
    return [(name, kind) for name, _, kind in parts]


def _width(text: str) -> tuple[str, int]:
    """`add64` is add and 64."""
    found = _WIDTH.match(text)
    if found is None:
        raise ValueError(text)
    return found[1], int(found[2])


def _space(text: str) -> tuple[Space, str]:
    word, _, rest = text.strip().partition(" ")
    return _SPACES[word], rest


def _field(text: str) -> CoreField:
    found = _CORE.match(text.strip())
    if found is None:
        raise ValueError(text)
    type_ = btf.Struct(found[1], 0, ())
    return CoreField(type_, found[2], int(found[3]), int(found[4]))


def _binary(reader: _Reader, text: str, _kind: Kind) -> Op:
    word, _, rest = text.partition(" ")
    name, bits = _width(word)
    a, b = reader.args(rest)
    return Binary(_BINARY[name], a, b, bits)


def _extend(reader: _Reader, text: str, _kind: Kind) -> Op:
    word, _, rest = text.partition(" ")
    sign, bits = _width(word)
    return Extend(reader.value(rest), bits, signed=sign == "i")


def _swap(reader: _Reader, text: str, _kind: Kind) -> Op:
    bits, _, rest = text.partition(" ")
    return ByteSwap(reader.value(rest), int(bits))


def _load(reader: _Reader, text: str, kind: Kind) -> Op:
    word, _, rest = text.partition(" ")
    sign, bits = _width(word)
    space, where = _space(rest)
    base, offset = reader.address(where)
    return Load(base, offset, bits // 8, space=space, signed=sign == "i", kind=kind)


def _store(reader: _Reader, text: str, _kind: Kind) -> Op:
    word, _, rest = text.partition(" ")
    space, rest = _space(rest)
    where, _, value = rest.partition("], ")
    base, offset = reader.address(where + "]")
    size = _width(word)[1] // 8
    return Store(base, offset, size, reader.value(value), space=space)


def _copy(reader: _Reader, text: str, _kind: Kind) -> Op:
    size, _, rest = text.partition(" ")
    rest, _, align = rest.rpartition(" align ")
    left, _, right = rest.partition(", ")
    dst_space, left = _space(left)
    src_space, right = _space(right)
    dst, dst_offset = reader.address(left)
    src, src_offset = reader.address(right)
    return Copy(
        dst,
        dst_offset,
        src,
        src_offset,
        int(size),
        align=int(align),
        dst_space=dst_space,
        src_space=src_space,
    )


def _zero(reader: _Reader, text: str, _kind: Kind) -> Op:
    size, _, rest = text.partition(" ")
    rest, _, align = rest.rpartition(" align ")
    space, where = _space(rest)
    base, offset = reader.address(where)
    return Zero(base, offset, int(size), align=int(align), space=space)


def _arena_address(reader: _Reader, text: str, _kind: Kind) -> Op:
    return ArenaAddress(reader.value(text))


def _field_address(reader: _Reader, text: str, _kind: Kind) -> Op:
    base, _, field = text.partition(", ")
    return FieldAddress(reader.value(base), _field(field))


def _core_value(_reader: _Reader, text: str, _kind: Kind) -> Op:
    return CoreValue(_field(text))


def _call(reader: _Reader, text: str, kind: Kind) -> Op:
    found = _CALL.match(text)
    if found is None:
        raise ValueError(text)
    target = int(found[2]) if found[2].isdecimal() else found[2]
    args = reader.args(found[3])
    return Call(_CALLS[found[1]], target, *args, kind=kind)


def _atomic(reader: _Reader, text: str, _kind: Kind) -> Op:
    fetch = text.startswith("fetch ")
    word, _, rest = text.removeprefix("fetch ").partition(" ")
    name, bits = _width(word)
    where, _, values = rest.partition("], ")
    base, offset = reader.address(where + "]")
    op = _ATOMIC[name]
    return Atomic(op, base, offset, bits // 8, *reader.args(values), fetch=fetch)


def _get(reader: _Reader, text: str, kind: Kind) -> Op:
    return GetLocal(reader.local(text, kind))


def _set(reader: _Reader, text: str, _kind: Kind) -> Op:
    name, _, rest = text.partition(", ")
    value = reader.value(rest)
    return SetLocal(reader.local(name, value.kind), value)


def _phi(reader: _Reader, text: str, kind: Kind) -> Op:
    name, _, rest = text.partition(" (")
    phi = Phi(reader.local(name, kind))
    reader.phis.append((phi, rest.rstrip(")")))
    return phi


def _jump(reader: _Reader, text: str, _kind: Kind) -> Op:
    return Jump(reader.block(text))


def _branch(reader: _Reader, text: str, _kind: Kind) -> Op:
    test, _, ways = text.partition(" -> ")
    word, _, rest = test.partition(" ")
    name, bits = _width(word)
    a, b = reader.args(rest)
    then, orelse = (reader.block(way.strip()) for way in ways.split(","))
    return Branch(_COMPARE[name], a, b, then, orelse, bits)


def _budget(_reader: _Reader, text: str, _kind: Kind) -> Op:
    return Budget(int(text) if text else None)


def _return(reader: _Reader, text: str, _kind: Kind) -> Op:
    return Return(reader.value(text))


_RULES: dict[str, Callable[[_Reader, str, Kind], Op]] = {
    "atomic": _atomic,
    "binary": _binary,
    "branch": _branch,
    "budget": _budget,
    "byteswap": _swap,
    "call": _call,
    "copy": _copy,
    "core": _core_value,
    "extend": _extend,
    "field": _field_address,
    "arena": _arena_address,
    "get": _get,
    "jump": _jump,
    "load": _load,
    "phi": _phi,
    "return": _return,
    "set": _set,
    "store": _store,
    "zero": _zero,
}
