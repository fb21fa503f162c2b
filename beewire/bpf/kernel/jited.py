"""The machine code of a program that the kernel runs, under the lines it stems from.

It is disassembled where the extra `disassemble` is installed (capstone), and shown as
bytes elsewhere.
"""

import errno
import os
import struct
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from beewire.bpf.btf import Func, Index
from beewire.bpf.kernel import attr, ids, syscall
from beewire.bpf.kernel.btf_objects import types_of
from beewire.bpf.kernel.inspect import read_lines
from beewire.bpf.kernel.inspection.objects import kind_name
from beewire.bpf.object import LineInfo, ProgramKind
from beewire.errors import KernelError, NotPermitted, UsageError
from beewire.symbols import KernelSymbols

_CHUNK = 16  # bytes a line, where they cannot be told as instructions
_CALLS = ("call", "bl", "b", "cbz", "cbnz")
_JUMPS = ("j", "b.", "tbz", "tbnz")


class MachineInsn(NamedTuple):
    """One instruction; `text` is "" where it is only known as bytes."""

    offset: int
    code: bytes
    text: str = ""
    note: str = ""


class MachineFunction(NamedTuple):
    """One function of a program: the program itself first, then those it calls.

    `lines` are offsets into `code` with the source lines that begin there.
    """

    name: str
    address: int
    code: bytes
    lines: tuple[tuple[int, LineInfo], ...]


class MachineCode(NamedTuple):
    """All of a program."""

    id: int
    name: str
    kind: str
    functions: tuple[MachineFunction, ...]


Disassembler = Callable[[bytes, int], Iterator[MachineInsn]]


def machine_code(program_id: int) -> MachineCode:
    """The machine code of the program `program_id`.

    Raises:
        UsageError: there is no such program, or it is interpreted.
        NotPermitted: CAP_SYS_ADMIN is missing, or the kernel hides its addresses.
    """
    with ids.open_id(ids.PROGRAM, program_id) as program:
        info = syscall.read_info(program.fd, attr.PROG_INFO)
        number = attr.PROG_INFO.integer
        size = number(info, "jited_prog_len")
        if not size:
            raise UsageError(
                f"program {program_id} has no machine code: it is interpreted "
                "(`sysctl net.core.bpf_jit_enable=1` switches the compiler on)"
            )
        code, addresses, lengths, lines, functions = _read(program.fd, info)
    if not any(addresses):
        about = f"read the machine code of program {program_id}"
        raise NotPermitted(
            errno.EPERM,
            "OBJ_GET_INFO_BY_FD",
            f"cannot {about}: the kernel hides its addresses from this process "
            "(`sysctl kernel.kptr_restrict` and CAP_SYSLOG decide)",
        )
    types = types_of(number(info, "btf_id"))
    name = attr.PROG_INFO.text(info, "name")
    names = _names(functions, types, name)
    found, at = [], 0
    for place, (address, length) in enumerate(zip(addresses, lengths, strict=True)):
        here = tuple(
            (where - address, line)
            for where, line in lines
            if address <= where < address + length
        )
        label = names[place] if place < len(names) else f"function {place}"
        found.append(MachineFunction(label, address, code[at : at + length], here))
        at += length
    kind = kind_name(ProgramKind, number(info, "type"))
    return MachineCode(program_id, name, kind, tuple(found))


def _read(
    fd: int, info: bytearray
) -> tuple[bytes, list[int], list[int], list[tuple[int, LineInfo]], bytes]:
    """Code, addresses and lengths of functions, lines by address, records of functions."""
    number = attr.PROG_INFO.integer
    count, line_count = (
        number(info, "nr_jited_ksyms"),
        number(info, "nr_jited_line_info"),
    )
    func_size = number(info, "func_info_rec_size")
    code = bytearray(number(info, "jited_prog_len"))
    addresses, lengths = bytearray(8 * count), bytearray(4 * count)
    places = bytearray(8 * line_count)
    functions = bytearray(func_size * number(info, "nr_func_info"))
    request = attr.PROG_INFO.pack(
        jited_prog_len=len(code),
        jited_prog_insns=syscall.address(code),
        nr_jited_ksyms=count,
        jited_ksyms=syscall.address(addresses),
        nr_jited_func_lens=count,
        jited_func_lens=syscall.address(lengths),
        nr_jited_line_info=line_count,
        jited_line_info=syscall.address(places),
        jited_line_info_rec_size=8,
        nr_func_info=number(info, "nr_func_info"),
        func_info=syscall.address(functions),
        func_info_rec_size=func_size,
    )
    arguments = attr.INFO.pack(
        bpf_fd=fd, info_len=len(request), info=syscall.address(request)
    )
    syscall.bpf(syscall.Cmd.OBJ_GET_INFO_BY_FD, arguments, "read the program")
    where = struct.unpack(f"={line_count}Q", places)
    lines = list(zip(where, read_lines(fd, info), strict=False))
    return (
        bytes(code),
        list(struct.unpack(f"={count}Q", addresses)),
        list(struct.unpack(f"={count}I", lengths)),
        lines,
        bytes(functions),
    )


def _names(records: bytes, types: Index | None, name: str) -> list[str]:
    """The names of the functions, as the program's own types tell them."""
    if types is None:
        return [name]
    found = []
    for _, number in struct.iter_unpack("=II", records):
        node = types.type(number)
        found.append(node.name if isinstance(node, Func) else name)
    return found or [name]


def machine_listing(program_id: int) -> str:
    """The machine code of a program as text; raises what `machine_code` does."""
    program = machine_code(program_id)
    total = sum(len(each.code) for each in program.functions)
    lines = [f"program {program.name} ({program.kind}): {total} bytes of machine code"]
    for function in program.functions:
        lines.append(
            f"{function.name} at {function.address:#x}: {len(function.code)} bytes"
        )
        lines += _function_lines(function)
    return "\n".join(lines)


def _function_lines(function: MachineFunction) -> Iterator[str]:
    sources: dict[int, LineInfo] = dict(reversed(function.lines))
    shown = ("", 0)
    for insn in instructions(function):
        source = sources.get(insn.offset)
        if source is not None and (source.file, source.line) != shown:
            shown = (source.file, source.line)
            yield f"  ; {source.file}:{source.line}:{source.column}  {source.text.strip()}"
        text = f"{insn.offset:5x}: {insn.code.hex(' '):<30}  {insn.text}".rstrip()
        yield f"  {text}  ; {insn.note}" if insn.note else f"  {text}"


def instructions(function: MachineFunction) -> list[MachineInsn]:
    """The instructions of a function, or its bytes between the starts of source lines."""
    disassemble = disassembler()
    if disassemble is not None:
        found = list(disassemble(function.code, function.address))
        return _with_notes(function, found)
    starts = {offset for offset, _ in function.lines} | {0}
    bounds = [*sorted(starts), len(function.code)]
    return [
        MachineInsn(at, function.code[at : min(at + _CHUNK, end)])
        for start, end in pairwise(bounds)
        for at in range(start, end, _CHUNK)
    ]


def disassembler() -> Disassembler | None:
    """What disassembles this machine's code, or None where nothing that can is installed."""
    try:
        import capstone  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    kinds = {
        "x86_64": ("CS_ARCH_X86", capstone.CS_MODE_64),
        "aarch64": ("CS_ARCH_ARM64", capstone.CS_MODE_ARM),
        "riscv64": (
            "CS_ARCH_RISCV",
            capstone.CS_MODE_RISCV64 | capstone.CS_MODE_RISCVC,
        ),
        "ppc64le": ("CS_ARCH_PPC", capstone.CS_MODE_64),
    }
    word, mode = kinds.get(os.uname().machine, ("", 0))
    if not hasattr(capstone, word):
        return None
    engine = capstone.Cs(getattr(capstone, word), mode)
    # What it does not know is shown as bytes, and does not end the listing.
    engine.skipdata = True

    def run(code: bytes, address: int) -> Iterator[MachineInsn]:
        for at, size, name, operands in engine.disasm_lite(code, address):
            offset = at - address
            text = f"{name} {operands}".rstrip()
            yield MachineInsn(offset, code[offset : offset + size], text)

    return run


def _with_notes(
    function: MachineFunction, insns: list[MachineInsn]
) -> list[MachineInsn]:
    """The same, with where jumps go to, and the names of what is called outside."""
    start, end = function.address, function.address + len(function.code)
    targets = {insn.offset: _target(insn.text) for insn in insns}
    outside = {target for target in targets.values() if target}
    outside -= set(range(start, end))
    names = _symbol_names(outside)

    def note(target: int) -> str:
        inside = start <= target < end
        return f"to {target - start:x}" if inside else names.get(target, "")

    return [insn._replace(note=note(targets[insn.offset])) for insn in insns]


def _symbol_names(addresses: set[int]) -> dict[int, str]:
    """The functions of the kernel at these addresses, where it tells them."""
    if not addresses:
        return {}
    try:
        symbols = KernelSymbols.read()
    except (KernelError, OSError):
        return {}
    found = {address: symbols.find(address) for address in addresses}
    return {address: symbol.name for address, symbol in found.items() if symbol}


def _target(text: str) -> int:
    """The address that a call or jump goes to, where it stands in the instruction."""
    name, _, operand = text.partition(" ")
    operand = operand.rpartition(" ")[2].removeprefix("#")
    goes = name in _CALLS or name.startswith(_JUMPS)
    return int(operand, 16) if goes and operand.startswith("0x") else 0
