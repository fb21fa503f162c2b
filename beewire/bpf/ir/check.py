"""Refuses a function that contradicts itself, before or between the passes.

    check(function)     # SpecError: f, block entry: %2 = binary add64 %1, 1: uses a value
                        # that is not computed on every way here

What holds afterwards: each block ends with its only terminator, and jumps stay inside
the function; each value and each local is there before it is used, on every way; sizes,
widths and kinds are ones that exist.
"""

from collections.abc import Callable, Iterable

from beewire.bpf.ir.ops import (
    ArenaAddress,
    Atomic,
    AtomicOp,
    Binary,
    Block,
    Branch,
    ByteSwap,
    Call,
    Const,
    Copy,
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
    Store,
    SymbolRef,
    Zero,
)
from beewire.bpf.ir.text import format_op
from beewire.errors import SpecError

_LEAVES = (Const, Param, Slot, MapRef, GlobalRef, FunctionRef, SymbolRef)
_TERMINATORS = (Jump, Branch, Return)
_MAX_ARGS = 5  # r1 to r5


def check(function: Function) -> None:
    """Check a whole function, with locals or in SSA form.

    Raises:
        SpecError: it contradicts itself; the message says where, and how.
    """
    if not function.blocks:
        raise SpecError(f"{function.name} has no blocks")
    inside = set(function.blocks)
    seen: set[Op] = set()
    for block in function.blocks:
        _check_shape(function, block, inside)
        for op in block.ops:
            if op in seen:
                raise _wrong(function, block, op, "stands in the function twice")
            if not isinstance(op, _LEAVES):
                seen.add(op)
            fault = _fault(function, block, op)
            if fault:
                raise _wrong(function, block, op, fault)
    _check_order(function)


def _wrong(function: Function, block: Block, op: Op, what: str) -> SpecError:
    text = format_op(op)
    return SpecError(f"{function.name}, block {block.name}: {text}: {what}")


def _check_shape(function: Function, block: Block, inside: set[Block]) -> None:
    if not block.ops or not isinstance(block.ops[-1], _TERMINATORS):
        raise SpecError(
            f"{function.name}, block {block.name}: does not end with a jump"
        )
    for op in block.ops[:-1]:
        if isinstance(op, _TERMINATORS):
            raise _wrong(function, block, op, "stands before the end of its block")
    for target in block.successors():
        if target not in inside:
            text = f"leads to {target.name}, outside of the function"
            raise _wrong(function, block, block.ops[-1], text)


def _fault(function: Function, block: Block, op: Op) -> str:
    for arg in op.args:
        if arg.kind is Kind.VOID:
            return "uses an operation that has no value"
        if isinstance(arg, Param) and arg not in function.params:
            return f"uses {arg.name}, which is no parameter of the function"
        if isinstance(arg, Const) and not -(1 << 63) <= arg.value < 1 << 64:
            return f"{arg.value} has more than 64 bits"
        if isinstance(arg, Slot) and (arg.size < 1 or arg.align not in {1, 2, 4, 8}):
            return f"{arg.name} has no size or alignment that memory can have"
    if isinstance(op, Phi):
        return "" if len(op.args) == len(block.preds) else "has another number of args"
    if type(op) in _ARGS and len(op.args) not in _ARGS[type(op)]:
        return "has another number of args"
    rule = _RULES.get(type(op))
    return rule(op) if rule else ""


_ARGS: dict[type[Op], tuple[int, ...]] = {
    ArenaAddress: (1,),
    Atomic: (2, 3),
    Binary: (2,),
    Branch: (2,),
    ByteSwap: (1,),
    Copy: (2,),
    Extend: (1,),
    FieldAddress: (1,),
    GetLocal: (0,),
    Jump: (0,),
    Load: (1,),
    Return: (1,),
    SetLocal: (1,),
    Store: (2,),
    Zero: (1,),
}


def _one_of(name: str, allowed: tuple[int, ...]) -> Callable[[Op], str]:
    def rule(op: Op) -> str:
        value = getattr(op, name)
        return "" if value in allowed else f"{name} is {value}, not one of {allowed}"

    return rule


def _call(op: Op) -> str:
    return "" if len(op.args) <= _MAX_ARGS else "has more than five args"


def _atomic(op: Op) -> str:
    assert isinstance(op, Atomic)
    plain = op.op in {AtomicOp.LOAD_ACQ, AtomicOp.STORE_REL}
    return _one_of("size", (1, 2, 4, 8) if plain else (4, 8))(op)


_RULES: dict[type[Op], Callable[[Op], str]] = {
    Atomic: _atomic,
    Binary: _one_of("bits", (32, 64)),
    Branch: _one_of("bits", (32, 64)),
    ByteSwap: _one_of("bits", (16, 32, 64)),
    Call: _call,
    Extend: _one_of("bits", (8, 16, 32)),
    Load: _one_of("size", (1, 2, 4, 8)),
    Store: _one_of("size", (1, 2, 4, 8)),
}


def _check_order(function: Function) -> None:
    """Every value and local is there before it is used, whatever way led here."""
    ready = _ready_at_start(function)
    for block in function.blocks:
        known = ready.get(block)
        if known is None:
            continue  # nobody gets here
        for op in block.ops:
            missing = [] if isinstance(op, Phi) else _missing(op, known)
            if missing:
                what = f"uses {missing[0]} before it is there on every way here"
                raise _wrong(function, block, op, what)
            known.update(_made(op))


def _missing(op: Op, known: set[Op | Local]) -> list[str]:
    names = [
        "a value"
        for arg in op.args
        if not isinstance(arg, _LEAVES) and arg not in known
    ]
    if isinstance(op, GetLocal) and op.local not in known:
        names.append(repr(op.local.name))
    return names


def _made(op: Op) -> Iterable[Op | Local]:
    return (op, op.local) if isinstance(op, SetLocal) else (op,)


def _ready_at_start(function: Function) -> dict[Block, set[Op | Local]]:
    """What every way from the entry to each block has computed and set."""
    made = {b: {thing for op in b.ops for thing in _made(op)} for b in function.blocks}
    entry = function.blocks[0]
    ready: dict[Block, set[Op | Local]] = {entry: set()}
    work = [entry]
    while work:
        block = work.pop()
        out = ready[block] | made[block]
        for successor in block.successors():
            before = ready.get(successor)
            now = set(out) if before is None else before & out
            if before is None or len(now) != len(before):
                ready[successor] = now
                work.append(successor)
    return ready
