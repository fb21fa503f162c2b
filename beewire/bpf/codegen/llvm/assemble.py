"""The object file that LLVM wrote, as the Code that our own generator would give."""

import struct

from beewire.bpf.btf.ext import LINE_INFO
from beewire.bpf.codegen.llvm.names import MAGIC, MAGIC_STEP, Module
from beewire.bpf.codegen.machine import ADD_IMM, MOV
from beewire.bpf.codegen.pipeline import Code
from beewire.bpf.ir import CoreField, Span
from beewire.bpf.isa import (
    LD_IMM64,
    PSEUDO_FUNC,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_VALUE,
    Insn,
    InsnClass,
    decode,
)
from beewire.bpf.object.elf import File, SectionKind, decode_references
from beewire.bpf.object.elf import decode as decode_elf
from beewire.bpf.object.spec import CoreRelo, Relocation
from beewire.errors import DecodingError

_PSEUDO = {
    "map": PSEUDO_MAP_FD,
    "global": PSEUDO_MAP_VALUE,
    "subprogram": 1,
    "kfunc": 2,
}
_SLOT = 8
_FRAME = 10


class Unexpected(Exception):  # noqa: N818 - becomes a CompileError where the place is known
    """LLVM made something of the module that cannot be told from other things."""


def assemble(module: Module, data: bytes) -> Code:
    """Instructions, relocations, lines and CO-RE records.

    Raises:
        Unexpected: LLVM reshaped what had to stay as it was.
    """
    try:
        elf = decode_elf(data)
    except DecodingError as error:
        raise Unexpected(str(error)) from None
    program = next(s for s in elf.sections if s.name == ".text")
    slots = _by_slot(program.content)
    relocations: list[Relocation] = []
    records: list[CoreRelo] = []
    for slot, number in sorted(_references(elf)):
        note = module.symbols[number]
        if isinstance(note, CoreField):
            slots[slot] = _fact(slots[slot], note)
            records.append(CoreRelo(slot, note.type, note.access, note.kind))
        else:
            relocations.append(_relocation(slot, slots, note))
    records += _fields(module, slots)
    records.sort(key=lambda record: record.slot)
    insns = tuple(slots.values())
    lines = tuple(_lines(module, elf))
    return Code(insns, tuple(relocations), lines, tuple(records), _stack(insns))


def _by_slot(content: bytes) -> dict[int, Insn]:
    slots, slot = {}, 0
    for insn in decode(content):
        slots[slot] = insn
        slot += 2 if insn.opcode == LD_IMM64 else 1
    return slots


def _references(elf: File) -> list[tuple[int, int]]:
    """(slot, number of the symbol) of every relocation of the program."""
    found = []
    for section in elf.sections:
        if section.kind != SectionKind.REL or section.name != ".rel.text":
            continue
        for reference in decode_references(section.content):
            name = elf.symbols[reference.symbol].name
            if not name.startswith("bw."):
                raise Unexpected(f"it calls {name!r}, which programs do not have")
            found.append((reference.offset // _SLOT, int(name[3:])))
    return found


def _fact(insn: Insn, note: CoreField) -> Insn:
    if insn.opcode != LD_IMM64 or insn.imm:
        raise Unexpected("a CO-RE fact was merged with a number")
    return insn._replace(imm=note.local)


def _relocation(slot: int, slots: dict[int, Insn], note: tuple[str, str]) -> Relocation:
    kind, name = note
    insn = slots[slot]
    offset = 0
    if insn.opcode == LD_IMM64 and kind == "subprogram":
        slots[slot] = insn._replace(src=PSEUDO_FUNC, imm=0)
    elif insn.opcode == LD_IMM64:
        low = insn.imm & 0xFFFF_FFFF
        offset = low - (1 << 32) if low >> 31 else low
        slots[slot] = insn._replace(src=_PSEUDO[kind], imm=0)
    else:
        slots[slot] = insn._replace(src=_PSEUDO[kind], imm=-1)
    if (kind == "map" and offset) or offset < 0:
        raise Unexpected(f"it points {offset} bytes beside {name!r}")
    return Relocation(slot, kind, name, offset)


def _fields(module: Module, slots: dict[int, Insn]) -> list[CoreRelo]:
    """The loads that have an offset which stands for a field of the context."""
    records = []
    for slot, insn in slots.items():
        number, rest = divmod(insn.off - MAGIC, MAGIC_STEP)
        if insn.opcode & 7 != InsnClass.LDX or not 0 <= number < len(module.fields):
            continue
        if rest:
            raise Unexpected("a field of the context was merged with another")
        field = module.fields[number]
        slots[slot] = insn._replace(off=field.local)
        records.append(CoreRelo(slot, field.type, field.access, field.kind))
    return records


def _lines(module: Module, elf: File) -> list[tuple[int, Span]]:
    """Where each source position begins, from `.BTF.ext`: lines there count spans."""
    ext = next((s.content for s in elf.sections if s.name == ".BTF.ext"), b"")
    if not ext:
        return []
    header = struct.unpack_from("<HBBI6I", ext)
    start, length = header[3] + header[6], header[7]
    lines: list[tuple[int, Span]] = []
    if not length:
        return lines
    # The size of a record; then one section: its name, and how many records it has.
    size, _, count = struct.unpack_from("<III", ext, start)
    for number in range(count):
        record = LINE_INFO.unpack_from(ext, start + 12 + number * size)
        line = record[3] >> 10
        if line and (not lines or lines[-1][1] is not module.spans[line - 1]):
            lines.append((record[0] // _SLOT, module.spans[line - 1]))
    return lines


def _stack(insns: tuple[Insn, ...]) -> int:
    """The bytes of stack in use, as far as instructions name them."""
    lowest = 0
    for before, insn in zip((None, *insns), insns, strict=False):
        kind = insn.opcode & 7
        if (kind == InsnClass.LDX and insn.src == _FRAME) or (
            kind in {InsnClass.ST, InsnClass.STX} and insn.dst == _FRAME
        ):
            lowest = min(lowest, insn.off)
        elif before is not None and _is_address(before, insn):
            lowest = min(lowest, insn.imm)
    return -lowest


def _is_address(before: Insn, insn: Insn) -> bool:
    """Whether the two are r2 = r10; r2 += -16."""
    moved = (before.opcode, before.src, before.dst) == (MOV, _FRAME, insn.dst)
    return moved and insn.opcode == ADD_IMM
