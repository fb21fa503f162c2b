"""The IR as text, for people and for tests; `parse` reads it back.

    function f(ctx: ptr)
    slot key: 4 align 4
    block entry:
      %1 = call helper 14 ()
      %2 = binary lshr64 %1, 32
      store u32 stack [&key], %2
      branch ne64 %2, 0 -> live, done

Values are numbered in the order in which they appear, and say `: ptr` where that is not
plain; leaves (constants, parameters, slots, maps) stand where they are used.
"""

from collections.abc import Callable

from beewire.bpf.ir.ops import (
    ArenaAddress,
    Atomic,
    Binary,
    Block,
    Branch,
    Budget,
    ByteSwap,
    Call,
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
    MapRef,
    Op,
    Param,
    Phi,
    SetLocal,
    Slot,
    Space,
    Store,
    SymbolRef,
    Zero,
)


def format_function(function: Function) -> str:
    """The whole function, one operation a line."""
    names = _Names()
    params = ", ".join(f"{p.name}: {p.kind.name.lower()}" for p in function.params)
    lines = [f"function {function.name}({params})"]
    slots = dict.fromkeys(
        arg for op in function.ops() for arg in op.args if isinstance(arg, Slot)
    )
    for slot in slots:
        name = names.of(slot, slot.name)
        lines.append(f"slot {name}: {slot.size} align {slot.align}")
    for block in function.blocks:
        names.of(block, block.name)
    for block in function.blocks:
        lines.append(f"block {names.of(block, block.name)}:")
        lines.extend(f"  {format_op(op, names)}" for op in block.ops if not _leaf(op))
    return "\n".join(lines) + "\n"


class _Names:
    """Numbers values at first sight; tells things of one name apart."""

    __slots__ = ("numbers", "taken", "things")

    def __init__(self) -> None:
        self.numbers: dict[Op, int] = {}
        self.things: dict[object, str] = {}
        self.taken: set[tuple[type, str]] = set()

    def of(self, thing: object, name: str) -> str:
        """The name of a block, slot or local, with a number if it is taken."""
        if thing not in self.things:
            unique, count = name, 1
            while (type(thing), unique) in self.taken:
                count += 1
                unique = f"{name}.{count}"
            self.taken.add((type(thing), unique))
            self.things[thing] = unique
        return self.things[thing]

    def value(self, op: Op) -> str:
        """How a value is written where it is used."""
        match op:
            case Const(value=value):
                return str(value)
            case Param(name=name):
                return name
            case Slot(name=name):
                return f"&{self.of(op, name)}"
            case FunctionRef(name=name):
                return f"function {name}"
            case SymbolRef(name=name):
                return f"symbol {name}"
            case MapRef(name=name):
                return f"map {name}"
            case GlobalRef(section=section, offset=offset):
                return f"{section}+{offset}"
            case _:
                return f"%{self.numbers.setdefault(op, len(self.numbers) + 1)}"

    def args(self, ops: list[Op]) -> str:
        """Values with commas between."""
        return ", ".join(self.value(op) for op in ops)

    def block(self, block: Block) -> str:
        """A block's name."""
        return self.of(block, block.name)


def format_op(op: Op, names: _Names | None = None) -> str:
    """One operation; `names` says what to call the values that it uses."""
    names = names or _Names()
    text = _TEXT.get(type(op), _plain)(op, names)
    if op.kind is Kind.VOID:
        return text
    shown = op.kind is Kind.PTR and not isinstance(op, FieldAddress | Binary)
    return f"{names.value(op)}{': ptr' if shown else ''} = {text}"


def _leaf(op: Op) -> bool:
    return isinstance(
        op, Const | Param | Slot | MapRef | GlobalRef | FunctionRef | SymbolRef
    )


def _plain(op: Op, names: _Names) -> str:
    return f"{type(op).__name__.lower()} {names.args(op.args)}".rstrip()


def _budget(op: Op, _names: _Names) -> str:
    assert isinstance(op, Budget)
    return "budget" if op.rounds is None else f"budget {op.rounds}"


def _binary(op: Op, names: _Names) -> str:
    assert isinstance(op, Binary)
    return f"binary {op.op.name.lower()}{op.bits} {names.args(op.args)}"


def _extend(op: Op, names: _Names) -> str:
    assert isinstance(op, Extend)
    return f"extend {'i' if op.signed else 'u'}{op.bits} {names.args(op.args)}"


def _swap(op: Op, names: _Names) -> str:
    assert isinstance(op, ByteSwap)
    return f"byteswap {op.bits} {names.args(op.args)}"


def _address(base: Op, offset: int, names: _Names) -> str:
    return f"[{names.value(base)}{offset:+d}]" if offset else f"[{names.value(base)}]"


def _space(space: Space) -> str:
    return space.name.lower()


def _load(op: Op, names: _Names) -> str:
    assert isinstance(op, Load)
    sign = "i" if op.signed else "u"
    where = _address(op.args[0], op.offset, names)
    return f"load {sign}{op.size * 8} {_space(op.space)} {where}"


def _store(op: Op, names: _Names) -> str:
    assert isinstance(op, Store)
    where = _address(op.args[0], op.offset, names)
    return f"store u{op.size * 8} {_space(op.space)} {where}, {names.value(op.args[1])}"


def _copy(op: Op, names: _Names) -> str:
    assert isinstance(op, Copy)
    dst = f"{_space(op.dst_space)} {_address(op.args[0], op.dst_offset, names)}"
    src = f"{_space(op.src_space)} {_address(op.args[1], op.src_offset, names)}"
    return f"copy {op.size} {dst}, {src} align {op.align}"


def _zero(op: Op, names: _Names) -> str:
    assert isinstance(op, Zero)
    where = f"{_space(op.space)} {_address(op.args[0], op.offset, names)}"
    return f"zero {op.size} {where} align {op.align}"


def _core(field: CoreField) -> str:
    name = getattr(field.type, "name", "?")
    return f"{name} {field.access} kind {field.kind} is {field.local}"


def _field(op: Op, names: _Names) -> str:
    assert isinstance(op, FieldAddress)
    return f"field {names.value(op.args[0])}, {_core(op.field)}"


def _arena(op: Op, names: _Names) -> str:
    return f"arena {names.value(op.args[0])}"


def _core_value(op: Op, _names: _Names) -> str:
    assert isinstance(op, CoreValue)
    return f"core {_core(op.field)}"


def _call(op: Op, names: _Names) -> str:
    assert isinstance(op, Call)
    return f"call {op.call.name.lower()} {op.target} ({names.args(op.args)})"


def _atomic(op: Op, names: _Names) -> str:
    assert isinstance(op, Atomic)
    fetch = " fetch" if op.fetch else ""
    where = _address(op.args[0], op.offset, names)
    values = names.args(op.args[1:])
    return f"atomic{fetch} {op.op.name.lower()}{op.size * 8} {where}, {values}"


def _get(op: Op, names: _Names) -> str:
    assert isinstance(op, GetLocal)
    return f"get {names.of(op.local, op.local.name)}"


def _set(op: Op, names: _Names) -> str:
    assert isinstance(op, SetLocal)
    return f"set {names.of(op.local, op.local.name)}, {names.value(op.args[0])}"


def _phi(op: Op, names: _Names) -> str:
    assert isinstance(op, Phi)
    return f"phi {names.of(op.local, op.local.name)} ({names.args(op.args)})"


def _jump(op: Op, names: _Names) -> str:
    assert isinstance(op, Jump)
    return f"jump {names.block(op.target)}"


def _branch(op: Op, names: _Names) -> str:
    assert isinstance(op, Branch)
    targets = f"{names.block(op.then)}, {names.block(op.orelse)}"
    return f"branch {op.op.name.lower()}{op.bits} {names.args(op.args)} -> {targets}"


_TEXT: dict[type[Op], Callable[[Op, _Names], str]] = {
    ArenaAddress: _arena,
    Atomic: _atomic,
    Binary: _binary,
    Branch: _branch,
    Budget: _budget,
    ByteSwap: _swap,
    Call: _call,
    Copy: _copy,
    CoreValue: _core_value,
    Extend: _extend,
    FieldAddress: _field,
    GetLocal: _get,
    Jump: _jump,
    Load: _load,
    Phi: _phi,
    SetLocal: _set,
    Store: _store,
    Zero: _zero,
}
