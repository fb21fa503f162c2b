from collections.abc import Callable
from pathlib import Path

import pytest

from beewire.bpf import isa
from beewire.bpf.btf import Array, Builder, Index, Int, Member, Ptr, Struct, Type, Union
from beewire.bpf.btf.core import CoreKind
from beewire.bpf.isa import Insn, Size
from beewire.bpf.kernel import Loaded, Target, kernel_index
from beewire.bpf.object import CoreRelo, ObjectSpec, ProgramKind, ProgramSpec
from beewire.bpf.object.core import POISON, apply_core
from beewire.errors import NotSupported, SpecError, VerifierError

pytestmark = pytest.mark.kernel

Make = Callable[..., ProgramSpec]
MakeObject = Callable[..., ObjectSpec]
Load = Callable[..., Loaded]

S32 = Int("int", 4, signed=True)
GET_CURRENT_TASK, PROBE_READ_KERNEL, PID_TGID = 35, 113, 14


def task_struct() -> Struct:
    """As much of it as a program names: where the members really are is not said."""
    task = Struct("task_struct", 16)
    task.members = (
        Member("real_parent", Ptr(task), 0),
        Member("tgid", S32, 64),
    )
    return task


@pytest.fixture
def reads_tgid(make_program: Make) -> ProgramSpec:
    """Compares `current.tgid` with what the helper says: returns the difference."""
    program = make_program(
        isa.call_helper(GET_CURRENT_TASK),
        isa.mov_reg(3, 0),
        isa.alu_imm(isa.AluOp.ADD, 3, 8),
        isa.mov_reg(1, 10),
        isa.alu_imm(isa.AluOp.ADD, 1, -8),
        isa.mov_imm(2, 4),
        isa.call_helper(PROBE_READ_KERNEL),
        isa.call_helper(PID_TGID),
        isa.alu_imm(isa.AluOp.RSH, 0, 32),
        isa.load(Size.W, 1, 10, -8),
        isa.alu_reg(isa.AluOp.SUB, 0, 1),
        isa.exit_insn(),
        kind=ProgramKind.RAW_TRACEPOINT,
        section="raw_tp",
    )
    program.core_relos = (
        CoreRelo(2, task_struct(), "0:1", CoreKind.FIELD_BYTE_OFFSET),
    )
    return program


@pytest.mark.parametrize("applies_core", [True, False])
def test_a_field_is_read_where_this_kernel_has_it(
    reads_tgid: ProgramSpec,
    make_object: MakeObject,
    load_now: Load,
    applies_core: bool,
) -> None:
    loaded = load_now(make_object(reads_tgid), target=Target(applies_core=applies_core))

    assert loaded.programs["program"].test_run().retval == 0


def test_a_kernel_without_types_is_told_when_they_are_needed(
    reads_tgid: ProgramSpec, make_object: MakeObject, load_now: Load, tmp_path: Path
) -> None:
    target = Target(str(tmp_path / "vmlinux"))

    with pytest.raises(NotSupported, match="CONFIG_DEBUG_INFO_BTF") as caught:
        load_now(make_object(reads_tgid), target=target)

    assert (
        "program 'program', which reads kernel structures by name"
        in (caught.value.__notes__[0])
    )


def test_a_kernel_without_types_loads_what_needs_none(
    make_program: Make, make_object: MakeObject, load_now: Load, tmp_path: Path
) -> None:
    program = make_program(isa.mov_imm(0, 1), isa.exit_insn())

    loaded = load_now(make_object(program), target=Target(str(tmp_path / "vmlinux")))

    assert loaded.programs["program"].test_run(bytes(64)).retval == 1


@pytest.mark.parametrize("applies_core", [True, False])
def test_a_field_that_does_not_exist_is_told(
    reads_tgid: ProgramSpec,
    make_object: MakeObject,
    load_now: Load,
    applies_core: bool,
) -> None:
    task = Struct("task_struct", 8, (Member("no_such_field", S32, 0),))
    relo = CoreRelo(2, task, "0:0", CoreKind.FIELD_BYTE_OFFSET)
    reads_tgid.core_relos = (relo,)

    with pytest.raises(VerifierError, match="does not exist in this kernel"):
        load_now(make_object(reads_tgid), target=Target(applies_core=applies_core))


@pytest.fixture(scope="module")
def index() -> Index:
    return kernel_index()


def applied(index: Index, insn: Insn, root: Type, access: str, kind: int) -> Insn:
    slots: list[Insn | None] = [insn]
    apply_core(slots, [CoreRelo(0, root, access, kind)], index, Builder().add)
    patched = slots[0]
    assert patched is not None
    return patched


MOV = isa.mov_imm(1, 0)


def sk_buff(*members: Member) -> Struct:
    return Struct("sk_buff", 64, members)


def offset(index: Index, struct: str, *path: str) -> int:
    """Byte offset of a member by a search of its own."""
    at, current = 0, index.lookup(struct, Struct)
    assert current is not None
    waiting = [(0, current.members)]
    for name in path:
        for base, members in waiting:
            for member in members:
                here = base + member.offset_bits // 8
                if member.name == name:
                    at = here
                elif not member.name and isinstance(member.type, Struct | Union):
                    waiting.append((here, member.type.members))
    return at


def test_fields_are_found_through_anonymous_members(index: Index) -> None:
    # sk_buff.dev lies in a struct in a union without names.
    local = sk_buff(Member("dev", Ptr(None), 0))

    patched = applied(index, MOV, local, "0:0", CoreKind.FIELD_BYTE_OFFSET)

    assert patched.imm == offset(index, "sk_buff", "dev") > 0


def test_the_offset_goes_into_a_load(index: Index) -> None:
    local = sk_buff(Member("len", Int("unsigned int", 4), 0))

    patched = applied(index, isa.load(Size.W, 1, 2, 0), local, "0:0", 0)

    assert patched == isa.load(Size.W, 1, 2, offset(index, "sk_buff", "len"))


def test_a_load_grows_and_shrinks_with_its_field(index: Index) -> None:
    # In the kernel it is four bytes wide.
    local = sk_buff(Member("len", Int("unsigned long", 8), 0))

    patched = applied(index, isa.load(Size.DW, 1, 2, 0), local, "0:0", 0)

    assert patched.opcode == isa.load(Size.W, 1, 2, 0).opcode


def test_array_elements_count_from_the_array(index: Index) -> None:
    local = Struct("task_struct", 16, (Member("comm", Array(Int("char", 1), 16), 0),))

    first = applied(index, MOV, local, "0:0:0", CoreKind.FIELD_BYTE_OFFSET).imm
    fifth = applied(index, MOV, local, "0:0:5", CoreKind.FIELD_BYTE_OFFSET).imm

    assert fifth == first + 5 == offset(index, "task_struct", "comm") + 5


@pytest.mark.parametrize(
    ("member", "kind", "answer"),
    [
        ("tgid", CoreKind.FIELD_EXISTS, 1),
        ("no_such_field", CoreKind.FIELD_EXISTS, 0),
        ("tgid", CoreKind.FIELD_BYTE_SIZE, 4),
        ("tgid", CoreKind.FIELD_SIGNED, 1),
        ("flags", CoreKind.FIELD_SIGNED, 0),
    ],
)
def test_questions_about_fields_are_answered(
    index: Index, member: str, kind: CoreKind, answer: int
) -> None:
    local = Struct("task_struct", 8, (Member(member, S32, 0),))

    assert applied(index, MOV, local, "0:0", kind).imm == answer


def test_questions_about_types_are_answered(index: Index) -> None:
    task, nothing = Struct("task_struct___old", 8), Struct("bw_no_such_struct", 8)
    real = index.lookup("task_struct", Struct)
    assert real is not None

    assert applied(index, MOV, task, "0", CoreKind.TYPE_EXISTS).imm == 1
    assert applied(index, MOV, nothing, "0", CoreKind.TYPE_EXISTS).imm == 0
    assert applied(index, MOV, task, "0", CoreKind.TYPE_SIZE).imm == real.size


def test_a_missing_field_poisons_the_instruction(index: Index) -> None:
    local = Struct("task_struct", 8, (Member("no_such_field", S32, 0),))

    assert applied(index, MOV, local, "0:0", 0) == isa.call_helper(POISON)


def test_a_kind_that_nobody_knows_is_refused(index: Index) -> None:
    with pytest.raises(SpecError, match="no CO-RE records of kind 13"):
        applied(index, MOV, task_struct(), "0", 13)


def test_a_path_that_leads_nowhere_is_refused(index: Index) -> None:
    with pytest.raises(SpecError, match="'0:7' is no path into"):
        applied(index, MOV, task_struct(), "0:7", 0)
