import re
from collections.abc import Callable

import pytest

from beewire.bpf import isa
from beewire.bpf.btf import Int, Linkage
from beewire.bpf.isa import JumpOp, Size
from beewire.bpf.kernel import Loaded
from beewire.bpf.kernel.advice import advise
from beewire.bpf.kernel.log import in_words, read_log
from beewire.bpf.object import (
    AttachKind,
    LineInfo,
    MapKind,
    MapSpec,
    ObjectSpec,
    ProgramKind,
    ProgramSpec,
    Relocation,
    RelocationKind,
)
from beewire.errors import AttachError, KernelError, VerifierError

Make = Callable[..., ProgramSpec]
MakeObject = Callable[..., ObjectSpec]
Load = Callable[..., Loaded]

U32 = Int("unsigned int", 4)
U64 = Int("unsigned long", 8)
HITS = MapSpec(
    "hits",
    kind=MapKind.HASH,
    key_size=4,
    value_size=8,
    max_entries=4,
    key=U32,
    value=U64,
)


@pytest.fixture
def no_none_check(make_program: Make, make_object: MakeObject) -> ObjectSpec:
    """What `n = hits.lookup(0); n.value += 1` compiles to."""
    program = make_program(
        isa.store_imm(Size.W, 10, -4, 0),
        isa.ld_imm64(1, 0),
        isa.mov_reg(2, 10),
        isa.alu_imm(isa.AluOp.ADD, 2, -4),
        isa.call_helper(1),
        isa.load(Size.DW, 0, 0, 0),
        isa.exit_insn(),
        relocations=(Relocation(1, RelocationKind.MAP, "hits"),),
        lines=(
            LineInfo(0, "/src/prog.py", 11, 9, "    n = hits.lookup(0)"),
            LineInfo(6, "/src/prog.py", 12, 12, "    return n.value"),
        ),
    )
    return make_object(program, HITS)


@pytest.mark.kernel
def test_what_is_said_of_the_context_is_no_reason() -> None:
    reading = read_log(
        "arg#0 reference type('FWD xdp_md') size cannot be determined: -22\n"
        "The sequence of 8193 jumps is too complex.\nverification time 9 usec\n"
    )

    assert reading.reason == "The sequence of 8193 jumps is too complex."


def test_a_refusal_names_program_line_and_reason(
    no_none_check: ObjectSpec, load_now: Load
) -> None:
    with pytest.raises(VerifierError) as caught:
        load_now(no_none_check)

    assert str(caught.value) == (
        "the kernel refused program 'program' at /src/prog.py:12: this may be None here "
        "(R0 invalid mem access 'map_value_or_null')"
    )
    assert caught.value.insn == 6
    assert caught.value.command == "PROG_LOAD"


@pytest.mark.kernel
def test_a_refusal_shows_source_caret_hint_and_registers(
    no_none_check: ObjectSpec, load_now: Load
) -> None:
    with pytest.raises(VerifierError) as caught:
        load_now(no_none_check)

    needs_registers(caught.value)
    source, hint, insn, registers, *_, log = caught.value.__notes__
    assert source == (
        '  File "/src/prog.py", line 12\n    return n.value\n           ^'
    )
    assert hint == "hint: test it first: `if x is None: return`"
    assert insn == "instruction 6: r0 = *(u64 *)(r0 +0)"
    # Before Linux 5.18 the log has no names of maps.
    assert re.fullmatch(
        r"r0 is a value of (map 'hits'|a map) \(8 bytes\), or None", registers
    )
    assert log.startswith("the verifier's log is in .log (")


def needs_registers(error: VerifierError) -> None:
    if (
        "R1=ctx(" not in error.log or "ctx(id=0" in error.log
    ):  # older logs tell them where ways part
        pytest.skip("this kernel's log tells few registers")


@pytest.mark.kernel
def test_a_refusal_carries_the_raw_log(
    no_none_check: ObjectSpec, load_now: Load
) -> None:
    with pytest.raises(VerifierError) as caught:
        load_now(no_none_check)

    assert "R0 invalid mem access 'map_value_or_null'" in caught.value.log
    assert "return n.value" in caught.value.log


@pytest.mark.kernel
def test_a_refusal_inside_a_subprogram_names_its_line(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    faulty = make_program(
        isa.mov_imm(1, 0),
        isa.load(Size.DW, 0, 1, 0),
        isa.exit_insn(),
        name="inner",
        section=".text",
        lines=(LineInfo(0, "/src/lib.py", 3, 1, "return deep.value"),),
    )
    assert faulty.signature is not None
    # A global function would be verified by itself, for any arguments.
    faulty.signature.linkage = Linkage.STATIC
    outer = make_program(
        isa.call_subprogram(0),
        isa.exit_insn(),
        relocations=(Relocation(0, RelocationKind.SUBPROGRAM, "inner"),),
        lines=(LineInfo(0, "/src/prog.py", 8, 5, "    return inner(ctx)"),),
    )

    with pytest.raises(VerifierError, match=r"'program' at /src/lib\.py:3"):
        load_now(make_object(outer, faulty))


@pytest.mark.kernel
def test_a_program_without_lines_is_refused_with_its_instruction(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    program = make_program(isa.mov_reg(0, 5), isa.exit_insn())

    with pytest.raises(VerifierError, match="never set on one of the paths") as caught:
        load_now(make_object(program))

    assert "instruction 0: r0 = r5" in caught.value.__notes__


@pytest.mark.kernel
def test_an_endless_loop_is_refused_as_such(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    program = make_program(
        isa.mov_imm(0, 0),
        isa.alu_imm(isa.AluOp.AND, 0, 1),
        isa.jump_imm(JumpOp.JEQ, 0, 0, -2),
        isa.exit_insn(),
        lines=(LineInfo(0, "/src/prog.py", 4, 5, "    while n == 0:"),),
    )

    with pytest.raises(VerifierError, match=r"prog\.py:4: this loop has no end"):
        load_now(make_object(program))


@pytest.mark.kernel
def test_a_helper_of_another_kind_of_program_is_named(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    redirect_map_of_xdp = 44
    program = make_program(
        isa.call_helper(redirect_map_of_xdp),
        isa.exit_insn(),
        kind=ProgramKind.SOCKET_FILTER,
    )

    with pytest.raises(VerifierError, match="no helper bpf_xdp_adjust_head"):
        load_now(make_object(program))


@pytest.mark.kernel
def test_a_return_value_that_the_hook_does_not_take_is_told(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    program = make_program(
        isa.mov_imm(0, 7),
        isa.exit_insn(),
        kind=ProgramKind.CGROUP_SOCK_ADDR,
        attach_kind=AttachKind.CGROUP_INET4_CONNECT,
    )

    with pytest.raises(VerifierError, match="a value that its hook does not take"):
        load_now(make_object(program))


@pytest.mark.kernel
def test_an_attach_kind_that_does_not_fit_is_no_verifier_error(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    program = make_program(
        isa.mov_imm(0, 0),
        isa.exit_insn(),
        kind=ProgramKind.CGROUP_SOCK_ADDR,
        attach_kind=AttachKind.XDP,
    )

    with pytest.raises(KernelError, match="does not allow them together") as caught:
        load_now(make_object(program))

    assert not isinstance(caught.value, VerifierError)


@pytest.mark.kernel
def test_a_hook_that_this_kernel_lacks_is_an_attach_error(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    program = make_program(
        isa.mov_imm(0, 0),
        isa.exit_insn(),
        kind=ProgramKind.TRACING,
        attach_kind=AttachKind.TRACE_RAW_TP,
        attach_to="no_such_event",
        section="tp_btf/no_such_event",
    )

    with pytest.raises(AttachError, match="cannot hook 'no_such_event'"):
        load_now(make_object(program))


LOG = """\
func#0 @0
0: R1=ctx() R10=fp0
; x = hits.lookup(key) @ prog.py:3
0: (b7) r2 = 0                        ; R2_w=0
1: (85) call bpf_map_lookup_elem#1    ; R0_w=map_value_or_null(id=1,map=hits,ks=4,vs=8)
2: (15) if r0 == 0x0 goto pc+2        ; R0_w=map_value(map=hits,ks=4,vs=8)
3: (71) r3 = *(u8 *)(r0 +9)
invalid access to map value, value_size=8 off=9 size=1
R0 min value is outside of the allowed memory range
processed 4 insns (limit 1000000) max_states_per_insn 0 total_states 0
"""


def test_the_reason_is_the_first_line_after_the_last_instruction() -> None:
    reading = read_log(LOG)

    assert reading.insn == 3
    assert reading.reason == "invalid access to map value, value_size=8 off=9 size=1"
    assert reading.details == ("R0 min value is outside of the allowed memory range",)


def test_the_last_state_of_each_register_is_kept() -> None:
    registers = read_log(LOG).registers

    assert registers == {
        0: "map_value(map=hits,ks=4,vs=8)",
        1: "ctx()",
        2: "0",
        10: "fp0",
    }


def test_a_jump_to_another_state_forgets_the_registers_before() -> None:
    log = "0: R1=ctx() R10=fp0\n1: (05) goto pc+1\nfrom 1 to 3: R0=5 R10=fp0\n3: (95) exit\nx"

    assert read_log(log).registers == {0: "5", 10: "fp0"}


def test_a_reason_that_names_an_instruction_points_there() -> None:
    reading = read_log("5: (95) exit\nUnreleased reference id=2 alloc_insn=3\n")

    assert reading.insn == 3


@pytest.mark.parametrize("log", ["", "processed 0 insns\n", "\n\n"])
def test_an_empty_log_has_no_reason(log: str) -> None:
    assert read_log(log).reason == ""


def test_a_log_in_an_unknown_form_is_passed_on() -> None:
    reading = read_log("Verification failed\nReason: something new\n")

    assert reading.reason == "Verification failed"
    assert reading.details == ("Reason: something new",)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("ctx()", "the context"),
        ("fp0", "the stack"),
        ("fp-16", "the stack at -16"),
        ("42", "the number 42"),
        ("scalar()", "any number"),
        ("scalar(smin=0,smax=umax=255,var_off=(0x0; 0xff))", "a number from 0 to 255"),
        ("map_ptr(map=hits,ks=4,vs=8)", "map 'hits'"),
        ("pkt(off=14,r=34)", "the packet at byte 14, of which 34 bytes are checked"),
        ("sock_or_null(id=1)", "a socket, or None"),
        ("trusted_ptr_task_struct()", "a pointer to task_struct"),
        ("ringbuf_mem_or_null(id=2,sz=8)", "a reserved ring buffer record, or None"),
        ("something_new(x=1)", "something_new(x=1)"),
    ],
)
def test_a_register_is_told_in_words(state: str, words: str) -> None:
    assert in_words(state) == words


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        (
            "invalid access to map value, value_size=8 off=16 size=8",
            "this reaches byte 16",
        ),
        ("R2 unbounded memory access, make sure to bounds check", "has no bound"),
        (
            "invalid variable-offset write to stack R1 var_off=(0x0; 0x3c) off=-32",
            "outside of the stack",
        ),
        ("invalid write to stack R1 off=-520 size=8", "the 512 bytes of stack"),
        ("invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)", "the packet"),
        ("R1 type=scalar expected=fp, pkt", "a scalar where the helper takes fp, pkt"),
        ("invalid func unknown#195896080", "does not exist in this kernel"),
        ("Unreleased reference id=1 alloc_insn=2", "not given back"),
        ("invalid bpf_context access off=4 size=8", "8 bytes at byte 4"),
    ],
)
def test_frequent_messages_are_explained(message: str, meaning: str) -> None:
    advice = advise(message)

    assert advice is not None
    assert meaning in advice.meaning


def test_an_unknown_message_has_no_advice() -> None:
    assert advise("the moon is full") is None


def test_the_report_of_newer_kernels_adds_to_the_old_reason() -> None:
    log = (
        "0: R1=ctx() R10=fp0\n0: (95) exit\nR0 !read_ok\n\n"
        "Verification failed: Register Type Safety: Unreadable register\n\n"
        "Reason:\n  R0 has never been set\n  on this path.\n\n"
        "At:\n  insn 7\n  >>> 0 | (95) exit\n\n"
        "Suggestion:\n  Set R0 first.\n\nprocessed 1 insns (limit 1000000)\n"
    )

    reading = read_log(log)

    assert reading.insn == 0
    assert reading.reason == "R0 !read_ok"
    assert reading.details == (
        "reason: R0 has never been set on this path.",
        "suggestion: Set R0 first.",
    )


@pytest.mark.kernel
def test_registers_are_told_also_when_the_reason_names_none(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    program = make_program(
        isa.store_imm(Size.W, 10, -4, 0),
        isa.ld_imm64(1, 0),
        isa.mov_reg(2, 10),
        isa.alu_imm(isa.AluOp.ADD, 2, -4),
        isa.call_helper(1),
        isa.jump_imm(JumpOp.JNE, 0, 0, 1),
        isa.exit_insn(),
        isa.mov_reg(6, 0),
        isa.call_helper(7),
        isa.alu_reg(isa.AluOp.ADD, 6, 0),
        isa.load(Size.B, 0, 6, 0),
        isa.exit_insn(),
        relocations=(Relocation(1, RelocationKind.MAP, "hits"),),
    )

    with pytest.raises(VerifierError, match="has no bound that the kernel") as caught:
        load_now(make_object(program, HITS))

    needs_registers(caught.value)
    told = "\n".join(caught.value.__notes__)
    assert "r0 is any number" in told
    assert re.search(r"r6 is a value of (map 'hits'|a map) \(8 bytes\)", told)
