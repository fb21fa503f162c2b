"""decode(encode(x)) == x and parse(format(x)) == x, for every valid instruction."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from beewire.bpf import isa
from beewire.bpf.isa import AluOp, AtomicOp, Insn, JumpOp
from beewire.errors import DecodingError, EncodingError

reg = st.integers(0, 10)
s16 = st.integers(-(1 << 15), (1 << 15) - 1)
s32 = st.integers(-(1 << 31), (1 << 31) - 1)
u32 = st.integers(0, (1 << 32) - 1)
u16 = st.integers(0, (1 << 16) - 1)
width = st.sampled_from((32, 64))
size = st.sampled_from((1, 2, 4, 8))
size_sx = st.sampled_from((1, 2, 4))
swapped = st.sampled_from((16, 32, 64))
alu = st.sampled_from([op for op in AluOp if op not in {AluOp.NEG, AluOp.END}])
unconditional = {JumpOp.JA, JumpOp.CALL, JumpOp.EXIT, JumpOp.JCOND}
jump = st.sampled_from([op for op in JumpOp if op not in unconditional])
fetching = st.sampled_from((AtomicOp.ADD, AtomicOp.OR, AtomicOp.AND, AtomicOp.XOR))
exchanging = st.sampled_from((AtomicOp.XCHG, AtomicOp.CMPXCHG))
atomic_size = st.sampled_from((4, 8))

insns = st.one_of(
    st.builds(isa.alu_imm, alu, reg, s32, width),
    st.builds(isa.alu_reg, alu, reg, reg, width),
    st.builds(isa.sdiv_imm, reg, s32, width),
    st.builds(isa.sdiv_reg, reg, reg, width),
    st.builds(isa.smod_imm, reg, s32, width),
    st.builds(isa.smod_reg, reg, reg, width),
    st.builds(isa.mov_imm, reg, s32, width),
    st.builds(isa.mov_reg, reg, reg, width),
    st.builds(isa.movsx, reg, reg, st.sampled_from((8, 16)), width),
    st.builds(isa.movsx, reg, reg, st.just(32)),
    st.builds(isa.addr_space_cast, reg, reg, u16, u16),
    st.builds(isa.neg, reg, width),
    st.builds(isa.to_be, reg, swapped),
    st.builds(isa.to_le, reg, swapped),
    st.builds(isa.bswap, reg, swapped),
    st.builds(isa.load, size, reg, reg, s16),
    st.builds(isa.load_sx, size_sx, reg, reg, s16),
    st.builds(isa.store_reg, size, reg, s16, reg),
    st.builds(isa.store_imm, size, reg, s16, s32),
    st.builds(isa.atomic, fetching, atomic_size, reg, s16, reg, fetch=st.booleans()),
    st.builds(isa.atomic, exchanging, atomic_size, reg, s16, reg),
    st.builds(isa.load_acquire, size, reg, reg, s16),
    st.builds(isa.store_release, size, reg, s16, reg),
    st.builds(isa.ld_imm64, reg, st.integers(-(1 << 63), (1 << 64) - 1)),
    st.builds(isa.ld_map_fd, reg, u32),
    st.builds(isa.ld_map_value, reg, u32, u32),
    st.builds(isa.ld_map_idx, reg, u32),
    st.builds(isa.ld_map_idx_value, reg, u32, u32),
    st.builds(isa.ld_func, reg, s32),
    st.builds(isa.ld_btf_id, reg, u32, u32),
    st.builds(isa.ld_abs, size_sx, s32),
    st.builds(isa.ld_ind, size_sx, reg, s32),
    st.builds(isa.jump, s16),
    st.builds(isa.jump_long, s32),
    st.builds(isa.jump_table, reg),
    st.builds(isa.jump_imm, jump, reg, s32, s16, width),
    st.builds(isa.jump_reg, jump, reg, reg, s16, width),
    st.builds(isa.may_goto, s16),
    st.builds(isa.call_helper, s32),
    st.builds(isa.call_kfunc, s32, st.integers(0, (1 << 15) - 1)),
    st.builds(isa.call_subprogram, s32),
    st.builds(isa.exit_insn),
)
programs = st.lists(insns).map(tuple)


@given(programs)
def test_decode_gives_back_what_was_encoded(program: tuple[Insn, ...]) -> None:
    assert isa.decode(isa.encode(program)) == program


@given(programs)
def test_decode_gives_back_what_was_encoded_big_endian(
    program: tuple[Insn, ...],
) -> None:
    data = isa.encode(program, big_endian=True)

    assert isa.decode(data, big_endian=True) == program


@given(programs)
def test_encoded_length_is_eight_bytes_a_slot(program: tuple[Insn, ...]) -> None:
    assert len(isa.encode(program)) == 8 * sum(insn.slots for insn in program)


@given(insns)
def test_parse_gives_back_what_was_formatted(insn: Insn) -> None:
    assert isa.parse_insn(isa.format_insn(insn)) == insn


@given(programs)
def test_parse_gives_back_a_formatted_program(program: tuple[Insn, ...]) -> None:
    assert isa.parse_program(isa.format_program(program)) == program


@given(insns, st.integers(0, 7), st.integers(0, 255))
def test_bytes_are_refused_or_decoded_without_loss(
    insn: Insn, position: int, value: int
) -> None:
    data = bytearray(isa.encode([insn]))
    data[position] = value

    with suppress(DecodingError):
        assert isa.encode(isa.decode(data)) == data


@given(insns, st.sampled_from(("opcode", "dst", "src", "off", "imm")), s32)
def test_what_encode_takes_decode_takes_too(insn: Insn, field: str, value: int) -> None:
    changed = insn._replace(**{field: value})

    with suppress(EncodingError):
        data = isa.encode([changed])
        assert isa.encode(isa.decode(data)) == data


@given(st.text())
def test_any_text_is_refused_or_read(text: str) -> None:
    with suppress(DecodingError):
        assert isa.parse_insn(isa.format_insn(isa.parse_insn(text)))
