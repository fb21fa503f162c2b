"""Text in the kernel's notation -> instructions; the inverse of `text`."""

import re
from collections.abc import Callable, Iterable

from beewire.bpf.isa import insn as new
from beewire.bpf.isa.check import fault
from beewire.bpf.isa.helper_names import HELPER_NAMES
from beewire.bpf.isa.insn import Insn
from beewire.bpf.isa.opcodes import AluOp, AtomicOp, JumpOp
from beewire.bpf.isa.text import ALU_SIGNS, FETCH_NAMES, JUMP_SIGNS
from beewire.errors import DecodingError

Fields = dict[str, str]
Builder = Callable[[Fields], Insn]

_ALU_OPS: dict[str, AluOp] = {sign: op for op, sign in ALU_SIGNS.items()}
_JUMP_OPS: dict[str, JumpOp] = {sign: op for op, sign in JUMP_SIGNS.items()}
_LOCK_OPS = {ALU_SIGNS[AluOp(op)]: op for op in FETCH_NAMES}
# CMPXCHG is the one that names r0 as well.
_FETCH_OPS = {f"fetch_{name}": op for op, name in FETCH_NAMES.items()} | {
    "xchg": AtomicOp.XCHG
}
_LINE = re.compile(
    r"\s*(?:\d+:)?\s*(?:\((?P<opcode>[0-9a-f]{2})\))?\s*(?P<text>.*?)\s*", re.ASCII
)


def parse_insn(text: str) -> Insn:
    """Return the instruction that `text`, in the kernel's notation, stands for.

    White space may differ; a slot number and an opcode in parentheses may precede. A
    helper may be called by name alone.

    Raises:
        DecodingError: The text is no instruction, or contradicts the opcode before it.
    """
    line = _LINE.fullmatch(text)
    body = line["text"] if line else text
    for pattern, build in _TABLE:
        if match := pattern.fullmatch(body):
            insn = build(match.groupdict(""))
            break
    else:
        raise DecodingError(f"{body!r} is no instruction in the kernel's notation")
    if problem := fault(insn):
        raise DecodingError(f"{body!r}: {problem}")
    if line and line["opcode"] and int(line["opcode"], 16) != insn.opcode:
        msg = f"{body!r} is opcode {insn.opcode:02x}, not {line['opcode']}"
        raise DecodingError(msg)
    return insn


def parse_program(text: str) -> tuple[Insn, ...]:
    """Return the instructions in `text`, one a line; `;` begins a comment.

    Raises:
        DecodingError: As `parse_insn`; names the line, counted from 1.
    """
    insns = []
    for number, line in enumerate(text.splitlines(), 1):
        code = line.partition(";")[0]
        if not code.strip():
            continue
        try:
            insns.append(parse_insn(code))
        except DecodingError as error:
            raise DecodingError(f"line {number}: {error}") from None
    return tuple(insns)


def _bits(f: Fields) -> int:
    return 64 if f["reg"] == "r" else 32


def _place(f: Fields) -> tuple[int, int, int]:
    return int(f["bits"]) // 8, int(f["base"]), int(f["off"])


def _half(number: int) -> int:
    """One of the two numbers in an imm of 64 bits; too large, it would spill over."""
    if not 0 <= number < 1 << 32:
        raise DecodingError(f"{number} does not fit 32 bits")
    return number


def _alu_imm(f: Fields) -> Insn:
    dst, imm = int(f["dst"]), int(f["num"])
    match f["op"]:
        case "s/=":
            return new.sdiv_imm(dst, imm, _bits(f))
        case "s%=":
            return new.smod_imm(dst, imm, _bits(f))
        case sign:
            return new.alu_imm(_ALU_OPS[sign], dst, imm, _bits(f))


def _alu_reg(f: Fields) -> Insn:
    dst, src = int(f["dst"]), int(f["src"])
    match f["op"]:
        case "s/=":
            return new.sdiv_reg(dst, src, _bits(f))
        case "s%=":
            return new.smod_reg(dst, src, _bits(f))
        case sign:
            return new.alu_reg(_ALU_OPS[sign], dst, src, _bits(f))


def _neg(f: Fields) -> Insn:
    return new.neg(int(f["dst"]), _bits(f))


def _movsx(f: Fields) -> Insn:
    return new.movsx(int(f["dst"]), int(f["src"]), int(f["from"]), _bits(f))


def _space_cast(f: Fields) -> Insn:
    spaces = int(f["to"]), int(f["from"])
    if max(spaces) >= 1 << 16:
        raise DecodingError("the number of an address space has 16 bits")
    return new.addr_space_cast(int(f["dst"]), int(f["src"]), *spaces)


def _swap(f: Fields) -> Insn:
    make = {"be": new.to_be, "le": new.to_le, "bswap": new.bswap}[f["order"]]
    return make(int(f["dst"]), int(f["num"]))


def _load(f: Fields) -> Insn:
    size, base, off = _place(f)
    make = new.load if f["sign"] == "u" else new.load_sx
    return make(size, int(f["dst"]), base, off)


def _load_acquire(f: Fields) -> Insn:
    size, base, off = _place(f)
    return new.load_acquire(size, int(f["dst"]), base, off)


def _packet_load(f: Fields) -> Insn:
    size, imm = int(f["bits"]) // 8, int(f["num"])
    return new.ld_ind(size, int(f["src"]), imm) if f["src"] else new.ld_abs(size, imm)


def _store_imm(f: Fields) -> Insn:
    return new.store_imm(*_place(f), int(f["num"]))


def _store_reg(f: Fields) -> Insn:
    return new.store_reg(*_place(f), int(f["src"]))


def _store_release(f: Fields) -> Insn:
    return new.store_release(*_place(f), int(f["src"]))


def _lock(f: Fields) -> Insn:
    return new.atomic(_LOCK_OPS[f["op"]], *_place(f), int(f["src"]))


def _atomic(f: Fields) -> Insn:
    if bool(f["wide"]) != (f["bits"] == "64"):
        raise DecodingError("atomic64_ goes with u64, atomic_ with u32")
    op = _FETCH_OPS.get(f["op"], AtomicOp.CMPXCHG)
    fetch = op not in {AtomicOp.XCHG, AtomicOp.CMPXCHG}
    return new.atomic(op, *_place(f), int(f["src"]), fetch=fetch)


def _ld_imm64(f: Fields) -> Insn:
    return new.ld_imm64(int(f["dst"]), int(f["hex"], 16))


def _map(f: Fields) -> Insn:
    dst, key = int(f["dst"]), _half(int(f["num"]))
    if not f["value"]:
        return (new.ld_map_fd if f["key"] == "fd" else new.ld_map_idx)(dst, key)
    make = new.ld_map_value if f["key"] == "fd" else new.ld_map_idx_value
    return make(dst, key, _half(int(f["value"])))


def _function(f: Fields) -> Insn:
    off = int(f["off"])
    if not -(1 << 31) <= off < 1 << 31:
        raise DecodingError(f"{off} does not fit 32 bits")
    return new.ld_func(int(f["dst"]), off)


def _btf_id(f: Fields) -> Insn:
    btf_id, module = _half(int(f["num"])), _half(int(f["module"] or 0))
    return new.ld_btf_id(int(f["dst"]), btf_id, module)


def _goto(f: Fields) -> Insn:
    make = {"goto": new.jump, "gotol": new.jump_long, "may_goto": new.may_goto}
    return make[f["word"]](int(f["off"]))


def _jump_table(f: Fields) -> Insn:
    return new.jump_table(int(f["dst"]))


def _jump_imm(f: Fields) -> Insn:
    value = int(f["hex"], 16)
    # The kernel prints imm as an unsigned 32-bit number.
    imm = value - (1 << 32) if 1 << 31 <= value < 1 << 32 else value
    return new.jump_imm(_JUMP_OPS[f["op"]], int(f["dst"]), imm, int(f["off"]), _bits(f))


def _jump_reg(f: Fields) -> Insn:
    op, dst, src = _JUMP_OPS[f["op"]], int(f["dst"]), int(f["src"])
    return new.jump_reg(op, dst, src, int(f["off"]), _bits(f))


def _subprogram(f: Fields) -> Insn:
    return new.call_subprogram(int(f["off"]))


def _kfunc(f: Fields) -> Insn:
    return new.call_kfunc(int(f["num"]), int(f["module"] or 0))


def _helper(f: Fields) -> Insn:
    name, number = f["name"].removeprefix("bpf_"), f["num"]
    if name not in HELPER_NAMES:
        if not number:
            raise DecodingError(f"no helper is called {f['name']!r}")
        return new.call_helper(int(number))
    known = HELPER_NAMES.index(name)
    if number and int(number) != known:
        raise DecodingError(f"{f['name']} is helper {known}, not {number}")
    return new.call_helper(known)


def _exit(_: Fields) -> Insn:
    return new.exit_insn()


def _one_of(names: Iterable[str]) -> str:
    longest_first = sorted(names, key=len, reverse=True)
    return f"(?P<op>{'|'.join(map(re.escape, longest_first))})"


# Words of the patterns in _TABLE, each with the fields that it fills.
_WORDS = {
    "REG": r"(?P<reg>[rw])(?P<dst>\d+)",
    "DST": r"r(?P<dst>\d+)",
    "SRC": r"r(?P<src>\d+)",
    "NUM": r"(?P<num>-?\d+)",
    "HEX": r"0x(?P<hex>[0-9a-f]{1,32})",
    "OFF": r"(?P<off>[+-]\d+)",
    "MEM": r"\( u(?P<bits>8|16|32|64) \* \) \( r(?P<base>\d+) (?P<off>[+-]\d+) \)",
    "ANY": r"\( (?P<sign>[us])(?P<bits>8|16|32|64) \* \) \( r(?P<base>\d+) (?P<off>[+-]\d+) \)",
    "ALU": _one_of([*ALU_SIGNS.values(), "s/=", "s%="]),
    "JMP": _one_of(JUMP_SIGNS.values()),
    "LCK": _one_of(_LOCK_OPS),
    "AOP": rf"atomic(?P<wide>64)?_{_one_of(_FETCH_OPS)}",
    "CMP": r"atomic(?P<wide>64)?_(?P<op>cmpxchg)",
}
# A space in a pattern: white space, which only two words may not do without.
_SPACE = r"(?:\\s+|(?<!\\w)|(?!\\w))"


def _compile(text: str) -> re.Pattern[str]:
    pattern = re.sub(r"\b[A-Z]{3}\b", lambda word: _WORDS[word[0]], text)
    # No number has more digits, and of 4300 Python would make no int.
    pattern = pattern.replace(r"\d+", r"\d{1,20}")
    return re.compile(re.sub(" ", _SPACE, pattern), re.ASCII)


_TABLE: tuple[tuple[re.Pattern[str], Builder], ...] = tuple(
    (_compile(text), build)
    for text, build in (
        (r"REG ALU NUM", _alu_imm),
        (r"REG ALU (?P=reg)(?P<src>\d+)", _alu_reg),
        (r"REG = \(s(?P<from>8|16|32)\) (?P=reg)(?P<src>\d+)", _movsx),
        (r"REG = - (?P=reg)(?P=dst)", _neg),
        (r"DST = (?P<order>be|le|bswap)(?P<num>\d+) r(?P=dst)", _swap),
        (r"DST = addr_space_cast\( SRC , (?P<to>\d+) , (?P<from>\d+) \)", _space_cast),
        (r"DST = \* ANY", _load),
        (r"\* MEM = NUM", _store_imm),
        (r"\* MEM = SRC", _store_reg),
        (r"DST = load_acquire\( MEM \)", _load_acquire),
        (r"store_release\( MEM , SRC \)", _store_release),
        (r"lock \* MEM LCK SRC", _lock),
        (r"SRC = AOP\( MEM , r(?P=src) \)", _atomic),
        (r"r0 = CMP\( MEM , r0 , SRC \)", _atomic),
        (r"DST = HEX", _ld_imm64),
        (r"DST = map\[(?P<key>fd|idx):NUM\](\[0\]\+(?P<value>\d+))?", _map),
        (r"DST = subprog\[OFF\]", _function),
        (r"DST = btf\[id:NUM( module_fd:(?P<module>\d+))?\]", _btf_id),
        (r"r0 = \*\( u(?P<bits>8|16|32) \* \) skb\[(SRC \+ )?NUM\]", _packet_load),
        (r"(?P<word>goto|gotol|may_goto) pc(?P<off>[+-]\d+)", _goto),
        (r"gotox DST", _jump_table),
        (r"if REG JMP HEX goto pc(?P<off>[+-]\d+)", _jump_imm),
        (r"if REG JMP (?P=reg)(?P<src>\d+) goto pc(?P<off>[+-]\d+)", _jump_reg),
        (r"call pc(?P<off>[+-]\d+)", _subprogram),
        (r"call kernel-function#NUM( module (?P<module>\d+))?", _kfunc),
        (r"call (?P<name>\w+)(#NUM)?", _helper),
        (r"exit", _exit),
    )
)
