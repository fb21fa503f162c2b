"""Turns stack slots whose address nobody takes into locals, field by field.

    store u32 stack [&key+4], %1      =>      set key.4, %2 = extend u32 %1
    %3 = load u32 stack [&key+4]              %3 = get key.4

A field is a piece that every access takes whole. Runs before SSA construction.
"""

from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import (
    Const,
    Extend,
    Function,
    GetLocal,
    Kind,
    Load,
    Local,
    Op,
    SetLocal,
    Slot,
    Store,
)

_Field = tuple[int, int]
# Bytes of one slot: far beyond the stack, even if some of it should turn out unused.
_HOPELESS = 2048


def promote(work: Work) -> None:
    """Replace the accesses to private slots by reads and writes of locals."""
    function = work.function
    accesses, escaped = _survey(function)
    work.hopeless = [
        slot
        for slot in (*accesses, *escaped)
        if isinstance(slot, Slot) and slot.size > _HOPELESS
    ]
    if work.hopeless:
        return
    fields: dict[Slot, dict[_Field, Local]] = {}
    for slot, used in accesses.items():
        if slot not in escaped:
            private = _disjoint(used)
            if private:
                fields[slot] = {
                    field: Local(f"{slot.name}.{field[0]}", kind)
                    for field, kind in private.items()
                }
    if not fields:
        return
    renamed: dict[Op, Op] = {}
    for block in function.blocks:
        if any(op.args and op.args[0] in fields for op in block.ops):
            block.ops = _rewrite(block.ops, fields, renamed)
    for op in function.ops():
        op.args = [renamed.get(arg, arg) for arg in op.args]
    _begin(function, fields)


def _survey(
    function: Function,
) -> tuple[dict[Slot, dict[_Field, Kind]], set[Op]]:
    """How each slot is accessed, and which slots' addresses go elsewhere."""
    accesses: dict[Slot, dict[_Field, Kind]] = {}
    escaped: set[Op] = set()
    for op in function.ops():
        for arg in op.args:
            if not isinstance(arg, Slot):
                continue
            kind = _access_kind(op, arg)
            if kind is None:
                escaped.add(arg)
            else:
                assert isinstance(op, Load | Store)
                used = accesses.setdefault(arg, {})
                field = (op.offset, op.size)
                # A word that is ever loaded or stored as a pointer is one.
                used[field] = max(kind, used.get(field, Kind.INT))
    return accesses, escaped


def _access_kind(op: Op, slot: Slot) -> Kind | None:
    """The kind of the value that moves, or None where the address itself is used."""
    match op:
        case Load():
            return op.kind
        case Store() if op.args[1] is not slot:
            return op.args[1].kind
    return None


def _disjoint(used: dict[_Field, Kind]) -> dict[_Field, Kind]:
    """The fields that no other access overlaps."""
    fields = sorted(used)
    clash: set[_Field] = set()
    end, widest = -1, (-1, 0)
    for field in fields:
        if field[0] < end:
            clash.update((field, widest))
        if sum(field) > end:
            end, widest = sum(field), field
    return {field: used[field] for field in fields if field not in clash}


def _rewrite(
    ops: list[Op], fields: dict[Slot, dict[_Field, Local]], renamed: dict[Op, Op]
) -> list[Op]:
    out: list[Op] = []
    for op in ops:
        match op:
            case Load() | Store() if isinstance(slot := op.args[0], Slot):
                local = fields.get(slot, {}).get((op.offset, op.size))
                if local is not None:
                    _access(op, local, out, renamed)
                    continue
        out.append(op)
    return out


def _access(
    op: Load | Store, local: Local, out: list[Op], renamed: dict[Op, Op]
) -> None:
    bits = op.size * 8
    if isinstance(op, Store):
        value = op.args[1]
        if bits < 64:
            value = Extend(value, bits, signed=False, span=op.span)
            out.append(value)
        out.append(SetLocal(local, value, span=op.span))
        return
    read: Op = GetLocal(local, span=op.span)
    out.append(read)
    if op.signed and bits < 64:
        read = Extend(read, bits, signed=True, span=op.span)
        out.append(read)
    renamed[op] = read


def _begin(function: Function, fields: dict[Slot, dict[_Field, Local]]) -> None:
    """Slots may be read before they are written: give every local a value."""
    function.blocks[0].ops[:0] = [
        SetLocal(local, Const(0))
        for locals_ in fields.values()
        for local in locals_.values()
    ]
