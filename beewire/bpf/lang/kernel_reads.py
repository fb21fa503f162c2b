"""Reads of kernel structs: `task.real_parent.tgid`, `task.comm`, `task.sighand.action[2]`.

A pointer that the verifier knows the type of is read by plain loads, as clang does; any
other address by bpf_probe_read_kernel. Where a field lies is the kernel's to say: each
read has a CO-RE record.
"""

from beewire.bpf import ir
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.kernel_types import CoreKind, core_field, kernel_field
from beewire.bpf.lang.memory import PROBE_READ_KERNEL, constant_index, known_number
from beewire.bpf.lang.ownership import lean
from beewire.bpf.lang.structs import Embedded, KernelBits, Several
from beewire.bpf.lang.structs import Pointer as KernelPointer
from beewire.bpf.lang.types import U8, U64, ArrayType, CharsType, IntType, ValueType
from beewire.bpf.lang.values import (
    Int,
    KernelField,
    KernelMemory,
    Literal,
    Memory,
    Value,
)
from beewire.reasons import Reason


def kernel_member(b: Builder, base: KernelMemory, name: str) -> Value:
    """A field of a kernel struct: followed, stepped into, or to be read."""
    kind, path = kernel_field(base, name)
    return _at(b, base, kind, path)


def kernel_place(b: Builder, base: KernelMemory, name: str) -> Memory:
    """A field to be written: the kernel lets programs write few, and says which.

    Raises:
        Rule: It is no integer.
    """
    kind, path = kernel_field(base, name)
    if not isinstance(kind, IntType):
        raise Rule(
            Reason.READ_ONLY,
            f"{base.kernel.__name__}.{name} is read-only",
            "programs write integers of kernel structs only, where the kernel lets them",
        )
    address = b.emit(ir.FieldAddress(base.op, core_field(base.root, path)))
    return Memory(address, 0, kind, ir.Space.KERNEL)


def kernel_element(b: Builder, base: KernelField, index: Int | Literal) -> Value:
    """An element of an array in a kernel struct.

    Raises:
        Rule: It is no array, or the index is past its end or not constant.
    """
    kind = base.type
    if not isinstance(kind, ArrayType | CharsType | Several) or base.inside is None:
        raise Rule(Reason.NO_ELEMENTS, f"{base.describe()} has no elements")
    element: ValueType = U8 if isinstance(kind, CharsType) else kind.element
    known = known_number(index)
    if known is not None:
        path = (*base.path, constant_index(known, kind.count))
        return _at(b, base.inside, element, path)
    if base.inside.typed or not isinstance(element, IntType):
        raise Rule(
            Reason.VARIABLE_INDEX,
            f"{base.describe()} takes constant indices only",
            "copy the array into a field of a Struct, and index that",
        )
    assert isinstance(index, Int)
    if kind.count:
        from beewire.bpf.lang.exits import bound  # noqa: PLC0415 - where indices vary

        bound(b, index, kind.count)
    step = ir.Const(element.size)
    offset = b.binary(ir.BinOp.MUL, index.op, step)
    address = b.binary(ir.BinOp.ADD, base.address, offset)
    return KernelField(address, element)


def _at(
    b: Builder, base: KernelMemory, kind: ValueType, path: tuple[int, ...]
) -> Value:
    if isinstance(kind, Embedded):
        inner = KernelMemory(base.op, kind.of, base.root, path, typed=base.typed)
        return lean(inner, base)
    if isinstance(kind, KernelBits):
        return bit_field(b, base, path, kind.base)
    address = b.emit(ir.FieldAddress(base.op, core_field(base.root, path)))
    if isinstance(kind, KernelPointer):
        found = KernelMemory(_pointer(b, base, address), kind.to, typed=base.typed)
        return lean(found, base)
    if base.typed and isinstance(kind, IntType):
        return b.load(address, 0, kind, ir.Space.KERNEL)
    return KernelField(address, kind, base, path)


def _pointer(b: Builder, base: KernelMemory, address: ir.Op) -> ir.Op:
    if base.typed:
        return b.emit(ir.Load(address, 0, 8, space=ir.Space.KERNEL, kind=ir.Kind.PTR))
    slot = b.temporary("pointer", 8)
    b.call(PROBE_READ_KERNEL, slot, ir.Const(8), address)
    return b.emit(ir.Load(slot, 0, 8, space=ir.Space.STACK, kind=ir.Kind.PTR))


def bit_field(
    b: Builder, base: KernelMemory, path: tuple[int, ...], kind: IntType
) -> Int:
    """A bit-field: as many bytes as hold it, shifted (BPF_CORE_READ_BITFIELD_PROBED)."""
    slot = b.temporary("bits", 8)
    b.emit(ir.Store(slot, 0, 8, ir.Const(0), space=ir.Space.STACK))
    address = b.emit(ir.FieldAddress(base.op, core_field(base.root, path)))
    size = b.emit(ir.CoreValue(core_field(base.root, path, CoreKind.FIELD_BYTE_SIZE)))
    b.call(PROBE_READ_KERNEL, slot, size, address)
    value = b.load(slot, 0, U64, ir.Space.STACK).op
    shifts = (
        (ir.BinOp.SHL, CoreKind.FIELD_LSHIFT_U64),
        (ir.BinOp.ASHR if kind.signed else ir.BinOp.LSHR, CoreKind.FIELD_RSHIFT_U64),
    )
    for shift, record in shifts:
        count = b.emit(ir.CoreValue(core_field(base.root, path, record)))
        value = b.binary(shift, value, count)
    return Int(value, kind)
