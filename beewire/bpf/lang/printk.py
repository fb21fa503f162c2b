"""`printk(f"...")`: an f-string as a format of the kernel and its values.

    printk(f"{pid:>7} {comm:16} {flags:#010x}")     =>   "%7llu %-16s 0x%08llx"

Up to three values go by registers (bpf_trace_printk), up to twelve by memory
(bpf_trace_vprintk, Linux 5.16).
"""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.attributes import present
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.byte_order import TO_HOST
from beewire.bpf.lang.call_expressions import BY_NAME
from beewire.bpf.lang.memory import kernel_address, store, store_bytes, temporary
from beewire.bpf.lang.types import BigEndianType, CharsType, IntType
from beewire.bpf.lang.values import (
    Comm,
    ContextValue,
    Int,
    KernelField,
    KernelMemory,
    Literal,
    Memory,
    Nothing,
    Pointer,
    Socket,
    Static,
    Value,
)
from beewire.reasons import Reason
from beewire.rows import Row

TRACE_PRINTK = 6
TRACE_VPRINTK = 177
COMM_SIZE = 16
IN_REGISTERS = 3
MOST = 12  # MAX_BPRINTF_VARARGS

KNOWN = "{n}, {n:5}, {n:<5}, {n:05}, {n:+}, {n:x}, {n:08x}, {n:#x}, {n:#010x}, {n:c}"


class Spec(Row):
    """What stands after the colon: `<08x`, say."""

    align: str = ""
    sign: str = ""
    prefix: bool = False  # '#'
    zero: bool = False
    width: int = 0
    kind: str = ""


def printk(b: Builder, node: ast.Call) -> Value:
    """Lower a call of `printk`."""
    [argument] = required(arguments(b, node, ("text",)))
    template, ops = formatted(b, argument, "printk()")
    for character in template:
        # bpf_trace_printk() ends at a NUL, and prints nothing for a text with others.
        if not (" " <= character <= "~" or character in "\t\n\v\f\r"):
            message = f"printk() cannot print {character!r}"
            hint = "the kernel takes ASCII only"
            raise b.refuse(argument, Reason.PRINTK, message, hint)
    raw = template.encode() + b"\0"
    slot = b.temporary("format", -(-len(raw) // 8) * 8)
    store_bytes(b, Memory(slot, 0, CharsType(len(raw)), ir.Space.STACK), raw)
    size = ir.Const(len(raw))
    if len(ops) <= IN_REGISTERS:
        b.call(TRACE_PRINTK, slot, size, *ops)
        return Nothing()
    data = b.temporary("values", 8 * len(ops))
    for index, op in enumerate(ops):
        b.emit(ir.Store(data, 8 * index, 8, op, space=ir.Space.STACK))
    b.call(TRACE_VPRINTK, slot, size, data, ir.Const(8 * len(ops)))
    return Nothing()


def formatted(b: Builder, node: ast.expr, by: str) -> tuple[str, list[ir.Op]]:
    """The kernel's format for an f-string, and its values, for a call of `by`.

    Raises:
        Refused: The kernel has no format for one of them.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _escaped(node.value), []
    if not isinstance(node, ast.JoinedStr):
        call = "printk(" if by == "printk()" else "seq_printf(seq, "
        hint = f'write {call}f"pid {{pid}}")'
        raise b.refuse(node, Reason.PRINTK, f"{by} takes a text", hint)
    parts = []
    ops: list[ir.Op] = []
    for part in node.values:
        if isinstance(part, ast.Constant):
            parts.append(_escaped(str(part.value)))
            continue
        assert isinstance(part, ast.FormattedValue)
        text, op = _formatted(b, part)
        parts.append(text)
        if op is not None:
            ops.append(op)
    if len(ops) > MOST:
        message = f"{by} prints at most {MOST} values, not {len(ops)}"
        hint = "print in two calls, or send a record by a RingBuf"
        raise b.refuse(node, Reason.PRINTK, message, hint)
    return "".join(parts), ops


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _formatted(b: Builder, part: ast.FormattedValue) -> tuple[str, ir.Op | None]:
    written = _written(b, part)
    value = b.expr(part.value)
    if isinstance(value, Pointer):
        present(b, value, part.value)
    if isinstance(value, Literal):
        return _constant(b, part, value.value, written), None
    if isinstance(value, Static) and isinstance(value.obj, str):
        return _constant(b, part, value.obj, written), None
    spec = parse(written)
    found = None if spec is None else _shown(b, part, value, spec)
    if found is None:
        message = f"printk() knows no format {written!r}"
        raise b.refuse(part.value, Reason.PRINTK, message, KNOWN)
    return found


def _shown(
    b: Builder, part: ast.FormattedValue, value: Value, spec: Spec
) -> tuple[str, ir.Op] | None:
    """The kernel's format of a value, and the value; None where it has none."""
    match value:
        case Int(type=BigEndianType()):
            order = f"{TO_HOST[value.type.bits]}(...)"
            message = f"{value.describe()} is in network order"
            hint = f"print {order} of it"
            raise b.refuse(part.value, Reason.BYTE_ORDER, message, hint)
        case Int():
            text = integer(spec, signed=value.type.signed)
            return None if text is None else (text, value.op)
        case Comm() | KernelField() | Memory():
            text = _string(spec)
            return None if text is None else (text, _text(b, part, value))
        case KernelMemory() if spec == Spec(kind="p"):
            return "%p", kernel_address(b, value)
        case Socket() | ContextValue() if spec == Spec(kind="p"):
            return "%p", value.op
        case _:
            raise _no_text(b, part, value)


def _no_text(b: Builder, part: ast.FormattedValue, value: Value) -> Exception:
    hint = ""
    if isinstance(value, Socket | KernelMemory | ContextValue):
        name = ast.unparse(part.value)
        hint = f"print its fields, or its address, hashed: {{{name}:p}}"
    message = f"{value.describe()} cannot be printed"
    return b.refuse(part, Reason.PRINTK, message, hint)


def _written(b: Builder, part: ast.FormattedValue) -> str:
    """The format specification, which has to be constant."""
    if part.conversion != -1:
        message = f"printk() knows no !{chr(part.conversion)}"
        hint = "write {n}: no '!', and no '=' before '}'"
        raise b.refuse(part.value, Reason.PRINTK, message, hint)
    if part.format_spec is None:
        return ""
    assert isinstance(part.format_spec, ast.JoinedStr)
    texts = []
    for piece in part.format_spec.values:
        if not isinstance(piece, ast.Constant):
            message = "a format is a constant here"
            raise b.refuse(part.value, Reason.PRINTK, message, KNOWN)
        texts.append(str(piece.value))
    return "".join(texts)


def _constant(
    b: Builder, part: ast.FormattedValue, value: int | str, written: str
) -> str:
    try:
        return _escaped(format(value, written))
    except ValueError:
        message = f"printk() knows no format {written!r}"
        raise b.refuse(part.value, Reason.PRINTK, message, KNOWN) from None


def parse(written: str) -> Spec | None:
    """A format specification; None for one that the kernel has nothing for."""
    rest = written
    align = sign = ""
    if rest[:1] in {"<", ">"}:
        align, rest = rest[0], rest[1:]
    if rest[:1] in {"+", "-"}:
        sign, rest = rest[0].strip("-"), rest[1:]
    prefix = rest[:1] == "#"
    rest = rest[prefix:]
    zero = rest[:1] == "0"
    rest = rest[zero:]
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    kind = rest[len(digits) :]
    if kind not in {"", "d", "x", "X", "c", "s", "p"} or len(digits) > 3:
        return None
    return Spec(align, sign, prefix, zero, int(digits or 0), kind)


def integer(spec: Spec, *, signed: bool) -> str | None:
    """The kernel's format of a 64-bit integer."""
    if spec.kind in {"s", "p"} or (spec.sign and not signed):
        return None
    if spec.kind == "c":
        return "%c" if spec == Spec(kind="c") else None
    letter = spec.kind if spec.kind in {"x", "X"} else ("d" if signed else "u")
    width = spec.width
    if spec.prefix:
        # The kernel knows no '#': the zeros stand after what is written out.
        if letter not in {"x", "X"} or (width and not spec.zero):
            return None
        width = max(width - 2, 0)
    flags = spec.sign
    if spec.zero and width:
        if spec.align:
            return None
        flags += "0"
    elif spec.align == "<" and width:
        flags += "-"
    return f"{f'0{letter}' if spec.prefix else ''}%{flags}{width or ''}ll{letter}"


def _string(spec: Spec) -> str | None:
    if spec.kind not in {"", "s"} or spec.sign or spec.prefix or spec.zero:
        return None
    # As Python does it, texts stand on the left.
    flag = "-" if spec.width and spec.align != ">" else ""
    return f"%{flag}{spec.width or ''}s"


def _text(b: Builder, part: ast.FormattedValue, value: Value) -> ir.Op:
    if isinstance(value, Memory) and isinstance(value.type, CharsType):
        return b.address(value)
    if isinstance(value, KernelField) and not isinstance(value.type, CharsType):
        raise b.refuse(part, Reason.PRINTK, f"{value.describe()} cannot be printed")
    if isinstance(value, Memory):
        hint = "add .value" if isinstance(value.type, IntType) else "print its fields"
        raise b.refuse(
            part, Reason.PRINTK, f"{value.describe()} cannot be printed", hint
        )
    kind = value.type if isinstance(value, KernelField) else CharsType(COMM_SIZE)
    place = temporary(b, kind, "text")
    store(b, place, value)
    return place.op


BY_NAME |= {"printk": printk}
