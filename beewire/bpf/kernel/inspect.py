"""A program that the kernel runs, as text: what the verifier made of it."""

import struct
from typing import NamedTuple

from beewire.bpf import isa
from beewire.bpf.btf import Func, Index
from beewire.bpf.kernel import attr, ids, syscall
from beewire.bpf.kernel.btf_objects import types_of
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.inspection.objects import kind_name
from beewire.bpf.object import LineInfo, MapKind, ProgramKind, ProgramSpec
from beewire.bpf.object.listing import program_text

_PSEUDO_MAPS = (isa.PSEUDO_MAP_FD, isa.PSEUDO_MAP_VALUE)
_FUNC_INFO = struct.Struct("<II")
_LINE_INFO = struct.Struct("<IIII")


class _Dump(NamedTuple):
    """What the kernel gives out of a program beside its numbers."""

    xlated: bytes
    lines: bytes
    functions: bytes
    maps: tuple[int, ...]


def program_listing(program_id: int) -> str:
    """Return program `program_id` as text: its maps, its instructions under their lines.

    The instructions are those that the verifier made (xlated): calls have addresses,
    some helpers are inlined.

    Raises:
        UsageError: there is no such program.
        NotPermitted: CAP_SYS_ADMIN is missing.
        KernelError: any other refusal.
    """
    spec, notes, head = program_dump(program_id)
    return "\n".join([*head, program_text(spec, notes)])


def program_dump(program_id: int) -> tuple[ProgramSpec, dict[int, str], list[str]]:
    """Program `program_id` as the verifier made it; notes by slot; its maps in words.

    The section of the ProgramSpec is the type of program. Raises what `program_listing`
    does.
    """
    with ids.open_id(ids.PROGRAM, program_id) as program:
        info = syscall.read_info(program.fd, attr.PROG_INFO)
        dump = _read(program.fd, info)
    types = types_of(attr.PROG_INFO.integer(info, "btf_id"))
    insns = _decode(dump.xlated)
    names = {number: _map_name(number) for number in dump.maps}
    spec = ProgramSpec(
        attr.PROG_INFO.text(info, "name"),
        kind=ProgramKind.UNSPEC,
        section=kind_name(ProgramKind, attr.PROG_INFO.integer(info, "type")),
        insns=insns,
        lines=_lines(dump.lines, types),
    )
    notes = _map_notes(insns, names) | _call_notes(insns)
    notes |= _function_notes(dump.functions, types)
    return spec, notes, [f"map {number} {names[number]}" for number in dump.maps]


def read_lines(fd: int, info: bytearray) -> tuple[LineInfo, ...]:
    """The source lines of the program behind `fd`, of which `info` is known."""
    return _lines(
        _read(fd, info).lines, types_of(attr.PROG_INFO.integer(info, "btf_id"))
    )


def _read(fd: int, info: bytearray) -> _Dump:
    """Ask a second time, with room for all that the first answer announced."""
    number = attr.PROG_INFO.integer
    insns = bytearray(number(info, "xlated_prog_len"))
    line_size = number(info, "line_info_rec_size") or _LINE_INFO.size
    func_size = number(info, "func_info_rec_size") or _FUNC_INFO.size
    lines = bytearray(number(info, "nr_line_info") * line_size)
    functions = bytearray(number(info, "nr_func_info") * func_size)
    maps = bytearray(number(info, "nr_map_ids") * 4)
    request = attr.PROG_INFO.pack(
        xlated_prog_len=len(insns),
        xlated_prog_insns=syscall.address(insns),
        nr_map_ids=len(maps) // 4,
        map_ids=syscall.address(maps),
        nr_line_info=len(lines) // line_size,
        line_info=syscall.address(lines),
        line_info_rec_size=line_size,
        nr_func_info=len(functions) // func_size,
        func_info=syscall.address(functions),
        func_info_rec_size=func_size,
    )
    arguments = attr.INFO.pack(
        bpf_fd=fd, info_len=len(request), info=syscall.address(request)
    )
    syscall.bpf(syscall.Cmd.OBJ_GET_INFO_BY_FD, arguments, "read the program")
    ids = struct.unpack(f"={len(maps) // 4}I", maps)
    return _Dump(bytes(insns), bytes(lines), bytes(functions), ids)


def _decode(data: bytes) -> tuple[isa.Insn, ...]:
    """As isa.decode, but lets pass what only the kernel itself writes."""
    out: list[isa.Insn] = []
    slots = struct.iter_unpack("<BBhi", data)
    for opcode, registers, off, imm in slots:
        wide = imm
        if opcode == isa.LD_IMM64:
            high = next(slots)[3]
            wide = (high & 0xFFFF_FFFF) << 32 | imm & 0xFFFF_FFFF
        out.append(isa.Insn(opcode, registers & 15, registers >> 4, off, wide))
    return tuple(out)


def _lines(data: bytes, types: Index | None) -> tuple[LineInfo, ...]:
    if types is None:
        return ()
    return tuple(
        LineInfo(
            slot,
            types.string(file),
            where >> 10,
            where & 0x3FF,
            types.string(text),
        )
        for slot, file, text, where in _LINE_INFO.iter_unpack(data)
    )


def _function_notes(data: bytes, types: Index | None) -> dict[int, str]:
    if types is None:
        return {}
    found = {slot: types.type(number) for slot, number in _FUNC_INFO.iter_unpack(data)}
    return {
        slot: f"function {function.name}"
        for slot, function in found.items()
        if slot and isinstance(function, Func)
    }


def _map_notes(insns: tuple[isa.Insn, ...], names: dict[int, str]) -> dict[int, str]:
    found, slot = {}, 0
    for insn in insns:
        if insn.opcode == isa.LD_IMM64 and insn.src in _PSEUDO_MAPS:
            number = insn.imm & 0xFFFF_FFFF
            found[slot] = f"map {number} {names.get(number, '')}".rstrip()
        slot += insn.slots
    return found


def _call_notes(insns: tuple[isa.Insn, ...]) -> dict[int, str]:
    """The names of the functions called, where /proc/kallsyms tells addresses."""
    calls, slot = {}, 0
    for insn in insns:
        if insn.opcode == isa.CALL and insn.src == isa.CALL_HELPER and insn.imm:
            calls[slot] = insn.imm
        slot += insn.slots
    symbols = _symbols() if calls else {}
    base = next((a for a, name in symbols.items() if name == "__bpf_call_base"), 0)
    return {
        slot: symbols[base + imm]
        for slot, imm in calls.items()
        if base and base + imm in symbols
    }


def _symbols() -> dict[int, str]:
    with open("/proc/kallsyms") as file:  # noqa: PTH123 - no pathlib in this room
        rows = (line.split() for line in file)
        return {int(row[0], 16): row[2] for row in rows if row[1] in "tT"}


def _map_name(number: int) -> str:
    record = attr.GET_ID.pack(start_id=number)
    fd = syscall.bpf(syscall.Cmd.MAP_GET_FD_BY_ID, record, f"open map {number}")
    with Descriptor(fd):
        info = syscall.read_info(fd, attr.MAP_INFO)
    kind = attr.MAP_INFO.integer(info, "type")
    return f"{attr.MAP_INFO.text(info, 'name')} ({kind_name(MapKind, kind)})"
