"""Instructions <-> bytes."""

from struct import Struct, error, iter_unpack

from beewire.bpf.isa.check import fault, picky_fault
from beewire.bpf.isa.insn import Insn
from beewire.bpf.isa.opcodes import DST, FIELDS, IMM, LD_IMM64, OFF, PICKY, SRC
from beewire.errors import DecodingError, EncodingError
from beewire.hints import Iterable

_LITTLE = Struct("<BBhi").pack
_LITTLE_WIDE = Struct("<BBhIII").pack
_BIG = Struct(">BBhi").pack
_BIG_WIDE = Struct(">BBhIII").pack


def encode(insns: Iterable[Insn], *, big_endian: bool = False) -> bytes:
    """Return the bytes of `insns`, 8 a slot, little-endian unless asked otherwise.

    Raises:
        EncodingError: An unknown opcode, a register above 10, a number too wide for
            its field, or a reserved field that is not zero; names the slot.
    """
    pack, wide = (_BIG, _BIG_WIDE) if big_endian else (_LITTLE, _LITTLE_WIDE)
    # In big-endian form the nibbles of the two registers change places as well.
    dst_shift, src_shift = (4, 0) if big_endian else (0, 4)
    out: list[bytes] = []
    for insn in insns:
        opcode, dst, src, off, imm = insn
        if not _fits(insn):
            raise _refusal(insn, b"".join(out))
        registers = dst << dst_shift | src << src_shift
        try:
            if opcode == LD_IMM64:
                low, high = imm & 0xFFFF_FFFF, imm >> 32 & 0xFFFF_FFFF
                out.append(wide(opcode, registers, off, low, 0, high))
            else:
                out.append(pack(opcode, registers, off, imm))
        except error:
            raise _refusal(insn, b"".join(out)) from None
    return b"".join(out)


def decode(
    data: bytes | bytearray | memoryview, *, big_endian: bool = False
) -> tuple[Insn, ...]:
    """Return the instructions in `data`.

    Raises:
        DecodingError: An unknown opcode, a reserved field that is not zero, a register
            above 10, or a cut-off instruction; names the slot.
    """
    if len(data) % 8:
        msg = f"{len(data)} bytes are no whole number of 8-byte instruction slots"
        raise DecodingError(msg)
    out: list[Insn] = []
    slots = enumerate(iter_unpack(">BBhi" if big_endian else "<BBhi", data))
    for slot, (opcode, registers, off, imm) in slots:
        dst, src = registers & 15, registers >> 4
        if big_endian:
            dst, src = src, dst
        insn = Insn(opcode, dst, src, off, imm)
        if opcode == LD_IMM64:
            second = next(slots, None)
            wide = _wide_imm(slot, imm, second[1] if second else None)
            insn = Insn(opcode, dst, src, off, wide)
        if not _fits(insn):
            raise DecodingError(f"slot {slot}: {fault(insn)}")
        out.append(insn)
    return tuple(out)


def _wide_imm(slot: int, low: int, second: tuple[int, int, int, int] | None) -> int:
    if second is None:
        raise DecodingError(f"slot {slot}: LD_IMM64 is cut off before its second half")
    if second[:3] != (0, 0, 0):
        msg = f"slot {slot + 1}: the second half of LD_IMM64 holds more than its imm"
        raise DecodingError(msg)
    return (second[3] & 0xFFFF_FFFF) << 32 | low & 0xFFFF_FFFF


def _fits(insn: Insn) -> bool:
    # Written for speed: all instructions of all programs pass here on the way to the
    # kernel. What exactly is wrong is `fault`'s business. Ranges are struct's, but for
    # registers, which share a byte, and LD_IMM64's imm, which is cut in two.
    opcode, dst, src, off, imm = insn
    fields = FIELDS.get(opcode)
    if fields is None or not 0 <= dst <= 10 or not 0 <= src <= 10:
        return False
    if (
        (dst and not fields & DST)
        or (src and not fields & SRC)
        or (off and not fields & OFF)
        or (imm and not fields & IMM)
    ):
        return False
    return not fields & PICKY or not picky_fault(insn)


def _refusal(insn: Insn, before: bytes) -> EncodingError:
    return EncodingError(f"slot {len(before) // 8}: {fault(insn)}")
