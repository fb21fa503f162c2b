"""Apply CO-RE records to a program against the running kernel's types.

The kernel does this itself since 5.17 (when BPF_PROG_LOAD is given `core_relos`); this is
for older ones. It resolves fields by name through anonymous members, as libbpf does, and
covers offset, size, sign and existence of fields, and existence and size of types.
"""

import errno
from enum import IntEnum
from typing import NamedTuple

from beewire.bpf.btf import (
    Array,
    Composite,
    Const,
    Enum,
    Float,
    Index,
    Int,
    Ptr,
    Restrict,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Volatile,
)
from beewire.bpf.isa import LD_IMM64, Insn, InsnClass, Size, call_helper
from beewire.bpf.kernel.assemble import Image
from beewire.bpf.object import CoreRelo
from beewire.errors import NotSupported, SpecError

# What the kernel puts in the place of an instruction whose field does not exist: a call
# that the verifier refuses, if it is ever reached (bpf_core_poison_insn).
POISON = 195_896_080

_TRANSPARENT = Const | Volatile | Restrict | Typedef | TypeTag
_POINTER_SIZE = 8
_BY_BITS = {0x10: Size.B, 0x08: Size.H, 0x00: Size.W, 0x18: Size.DW}
_BITS = {size: bits for bits, size in _BY_BITS.items()}


class CoreKind(IntEnum):
    """`enum bpf_core_relo_kind`, as far as it is applied here."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    TYPE_EXISTS = 8
    TYPE_SIZE = 9


class _Field(NamedTuple):
    """Where an access path leads: byte offset from the root, and the type there."""

    offset: int
    type: Type | None


_Step = int | str  # an index into an array, or the name of a member


def apply_core(image: Image, index: Index) -> None:
    """Patch every instruction that has a record, and drop the records.

    Raises:
        NotSupported: a record of a kind that only the kernel applies.
        SpecError: a record that does not fit its type or its instruction.
    """
    for relo in image.core_relos:
        insn = image.insns[relo.slot]
        if insn is None:
            raise SpecError(f"a CO-RE record points into the middle of {relo.slot}")
        image.insns[relo.slot] = _patch(insn, relo, index)
    image.core_relos.clear()


def _patch(insn: Insn, relo: CoreRelo, index: Index) -> Insn:
    try:
        kind = CoreKind(relo.kind)
    except ValueError:
        raise NotSupported(
            errno.EOPNOTSUPP, f"CO-RE records of kind {relo.kind}", "5.17"
        ) from None
    root = _counterpart(relo.type, index)
    if kind is CoreKind.TYPE_EXISTS:
        return _with_value(insn, int(root is not None))
    if kind is CoreKind.TYPE_SIZE:
        return _with_value(insn, _size(root)) if root else _poison(insn)
    steps, local = _local(relo)
    found = None if root is None else _find(root, steps)
    if kind is CoreKind.FIELD_EXISTS:
        return _with_value(insn, int(found is not None))
    if found is None:
        return _poison(insn)
    if kind is CoreKind.FIELD_BYTE_SIZE:
        return _with_value(insn, _size(found.type))
    if kind is CoreKind.FIELD_SIGNED:
        return _with_value(insn, int(_is_signed(found.type)))
    return _with_value(_resized(insn, local, found.type), found.offset)


def _counterpart(local: Type, index: Index) -> Type | None:
    # "task_struct___old" is a flavour of task_struct.
    name = local.name.partition("___")[0]
    classes: tuple[type[Type], ...] = (Struct, Union, Typedef, Int, Enum, Float)
    for each in classes:
        if isinstance(local, each):
            return index.lookup(name, each)
    raise SpecError(f"CO-RE knows no types such as {local!r}")


def _local(relo: CoreRelo) -> tuple[list[_Step], Type | None]:
    """The access path by names ("0:1" -> [0, "tgid"]), and the type at its end."""
    first, *rest = [int(part) for part in relo.access.split(":")]
    steps: list[_Step] = [first]
    current: Type | None = relo.type
    for number in rest:
        current = _strip(current)
        if isinstance(current, Composite) and number < len(current.members):
            member = current.members[number]
            # What is inside an anonymous member is found by its own name.
            if member.name:
                steps.append(member.name)
            current = member.type
        elif isinstance(current, Array):
            steps.append(number)
            current = current.element
        else:
            raise SpecError(f"{relo.access!r} is no path into {relo.type!r}")
    return steps, current


def _find(root: Type, steps: list[_Step]) -> _Field | None:
    first, *rest = steps
    field: _Field | None = _Field(int(first) * _size(root), root)
    for step in rest:
        if field is None:
            return None
        inside = _strip(field.type)
        if isinstance(step, str):
            found = _member(inside, step)
            field = found and _Field(field.offset + found.offset, found.type)
        elif isinstance(inside, Array):
            offset = field.offset + step * _size(inside.element)
            field = _Field(offset, inside.element)
        else:
            return None
    return field


def _member(inside: Type | None, name: str) -> _Field | None:
    """The member of this name, also inside anonymous members; bit-fields do not count."""
    if not isinstance(inside, Composite):
        return None
    for member in inside.members:
        offset = member.offset_bits // 8
        if member.name == name:
            return None if member.bitfield_bits else _Field(offset, member.type)
        if not member.name:
            found = _member(_strip(member.type), name)
            if found is not None:
                return _Field(offset + found.offset, found.type)
    return None


def _strip(found: Type | None) -> Type | None:
    while isinstance(found, _TRANSPARENT):
        found = found.to
    return found


def _size(found: Type | None) -> int:
    found = _strip(found)
    if isinstance(found, Ptr):
        return _POINTER_SIZE
    if isinstance(found, Array):
        return found.count * _size(found.element)
    if isinstance(found, Composite | Int | Enum | Float):
        return found.size
    return 0


def _is_signed(found: Type | None) -> bool:
    found = _strip(found)
    return isinstance(found, Int | Enum) and found.signed


def _resized(insn: Insn, local: Type | None, target: Type | None) -> Insn:
    """A load that follows its field when that is wider or narrower in this kernel."""
    if insn.opcode & 7 not in (InsnClass.LDX, InsnClass.STX, InsnClass.ST):
        return insn
    size, wanted = _BY_BITS[insn.opcode & 0x18], _size(target)
    if size != _size(local) or wanted == size or wanted not in _BITS:
        return insn
    return insn._replace(opcode=insn.opcode & ~0x18 | _BITS[Size(wanted)])


def _with_value(insn: Insn, value: int) -> Insn:
    """The instruction with the record's answer where it belongs."""
    if insn.opcode == LD_IMM64:
        return insn._replace(imm=value)
    if insn.opcode & 7 in (InsnClass.LDX, InsnClass.STX, InsnClass.ST):
        if value > 0x7FFF:
            raise NotSupported(errno.EOPNOTSUPP, f"a field at byte {value}")
        return insn._replace(off=value)
    if insn.opcode & 7 in (InsnClass.ALU, InsnClass.ALU64):
        return insn._replace(imm=value)
    raise SpecError("a CO-RE record stands at an instruction that holds no value")


def _poison(insn: Insn) -> Insn:
    # Both slots of a LD_IMM64 would have to go; its address 0 is refused as well.
    return insn._replace(imm=0) if insn.slots == 2 else call_helper(POISON)
