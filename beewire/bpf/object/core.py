"""Apply the CO-RE records of a program, given the types of the kernel it is for.

Kernels since 5.17 do this themselves while they load; this is for older ones, and for
kernels that are elsewhere: only their BTF is needed.
"""

from beewire.bpf.btf import Builder, Index, Type
from beewire.bpf.btf.core import Answer, Resolver
from beewire.bpf.isa import LD_IMM64, Insn, InsnClass, Size, call_helper
from beewire.bpf.object.spec import CoreRelo, ObjectSpec
from beewire.errors import SpecError
from beewire.hints import Callable, Sequence

# What the kernel puts in the place of an instruction whose field does not exist: a call
# that the verifier refuses, if it is ever reached (bpf_core_poison_insn).
POISON = 195_896_080

_BY_BITS = {0x10: Size.B, 0x08: Size.H, 0x00: Size.W, 0x18: Size.DW}
_BITS = {size: bits for bits, size in _BY_BITS.items()}
_TYPE_ID_LOCAL = 6
_MEMORY = (InsnClass.LDX, InsnClass.STX, InsnClass.ST)


def relocate_for(spec: ObjectSpec, index: Index) -> None:
    """Apply all CO-RE records of `spec`, and drop them: it is then for one kernel only.

    `index` are that kernel's types. Records that ask for the object's own type ids stay:
    these are known when the object is written or loaded.

    Raises:
        SpecError: a record that does not fit its type or its instruction, or whose answer
            is ambiguous.
    """
    local = Builder()
    resolver = Resolver(index, local.add)
    for program in spec.programs.values():
        own = [relo for relo in program.core_relos if relo.kind == _TYPE_ID_LOCAL]
        others = [relo for relo in program.core_relos if relo.kind != _TYPE_ID_LOCAL]
        slots: list[Insn | None] = []
        for insn in program.insns:
            slots += [insn, None][: insn.slots]
        patch(slots, others, resolver)
        program.insns = tuple([insn for insn in slots if insn is not None])
        program.core_relos = tuple(own)


def apply_core(
    slots: list[Insn | None],
    relos: Sequence[CoreRelo],
    index: Index,
    id_of: Callable[[Type], int],
) -> None:
    """Patch every instruction that has a record; `slots` has None behind a LD_IMM64.

    `id_of` gives the ids of the program's own types.

    Raises:
        SpecError: as `relocate_for`.
    """
    patch(slots, relos, Resolver(index, id_of))


def patch(
    slots: list[Insn | None], relos: Sequence[CoreRelo], resolver: Resolver
) -> None:
    """As `apply_core`, by a Resolver that serves several programs or knows of modules."""
    for relo in relos:
        insn = slots[relo.slot] if relo.slot < len(slots) else None
        if insn is None:
            raise SpecError(f"a CO-RE record points into the middle of {relo.slot}")
        try:
            answer = resolver.answer(relo.type, relo.access, relo.kind)
        except SpecError as error:
            error.add_note(f"in a CO-RE record of {relo.type!r} at slot {relo.slot}")
            raise
        if answer.value is None or not _can_resize(insn, answer):
            for slot in range(relo.slot, relo.slot + insn.slots):
                slots[slot] = call_helper(POISON)
        else:
            slots[relo.slot] = _with_value(insn, answer, answer.value)


def _can_resize(insn: Insn, answer: Answer) -> bool:
    same = answer.size == answer.local_size
    return same or answer.resizes or insn.opcode & 7 not in _MEMORY


def _with_value(insn: Insn, answer: Answer, value: int) -> Insn:
    """The instruction with the answer where it belongs."""
    if insn.opcode == LD_IMM64:
        return insn._replace(imm=value)
    kind = insn.opcode & 7
    if kind in (InsnClass.ALU, InsnClass.ALU64) and not insn.opcode & 8:
        return insn._replace(imm=(value & 0xFFFFFFFF ^ 1 << 31) - (1 << 31))
    if kind not in _MEMORY:
        raise SpecError("a CO-RE record stands at an instruction that holds no value")
    if value > 0x7FFF:
        raise SpecError(f"a field at byte {value} is beyond what a load can reach")
    return _resized(insn, answer)._replace(off=value)


def _resized(insn: Insn, answer: Answer) -> Insn:
    """A load that follows its field when that is wider or narrower in this kernel."""
    if answer.size == answer.local_size:
        return insn
    if _BY_BITS[insn.opcode & 0x18] != answer.local_size or answer.size not in _BITS:
        raise SpecError(
            f"a field of {answer.local_size} bytes is {answer.size} bytes long in the "
            "kernel, and its load cannot follow"
        )
    return insn._replace(opcode=insn.opcode & ~0x18 | _BITS[Size(answer.size)])
