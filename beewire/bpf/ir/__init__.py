"""The typed IR between `lang` and `codegen`: what a program does, in basic blocks.

    slot = ir.Slot("key", 4)
    ir.Store(slot, 0, 4, ir.Const(7), space=ir.Space.STACK)

`ops` holds the operations and the function. `check` refuses a function that contradicts
itself, `text` prints one and `parse` reads it back; these are loaded on first use. CO-RE
facts carry types of `beewire.bpf.btf`.
"""

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
    Terminator,
    Zero,
)
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.ir.check import check
    from beewire.bpf.ir.parse import parse_function
    from beewire.bpf.ir.text import format_function, format_op

_LAZY = {
    "check": "check",
    "format_function": "text",
    "format_op": "text",
    "parse_function": "parse",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - nobody pays before using it

    value: object = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


__all__ = [
    "ArenaAddress",
    "Atomic",
    "AtomicOp",
    "BinOp",
    "Binary",
    "Block",
    "Branch",
    "Budget",
    "ByteSwap",
    "Call",
    "CallKind",
    "CmpOp",
    "Const",
    "Copy",
    "CoreField",
    "CoreValue",
    "Extend",
    "FieldAddress",
    "Function",
    "FunctionRef",
    "GetLocal",
    "GlobalRef",
    "Jump",
    "Kind",
    "Load",
    "Local",
    "MapRef",
    "Op",
    "Param",
    "Phi",
    "Return",
    "SetLocal",
    "Slot",
    "Space",
    "Span",
    "Store",
    "SymbolRef",
    "Terminator",
    "Zero",
    "check",
    "format_function",
    "format_op",
    "parse_function",
]
