"""Static probes of programs and libraries (USDT), as `.note.stapsdt` has them.

Each place of a probe is a note: an address, a counter of who looks (a semaphore), and
where the arguments are there, in the assembler's words: "-4@%edi 8@-16(%rbp) 4@$7".
"""

import re
import struct

from beewire.errors import ObjectError
from beewire.hints import Callable, Iterator
from beewire.rows import Row
from beewire.symbols.elf import ElfFile

_SECTION, _BASE = ".note.stapsdt", ".stapsdt.base"
_KIND = 3  # NT_STAPSDT
_SIZES = (1, 2, 4, 8)
_SPLIT = re.compile(r"\s+(?=[^\s@]*@)")
_HEAD = re.compile(r"(-?\d+)(f?)@(.*)", re.DOTALL)
_X86 = re.compile(
    r"(?P<offset>[-+]?\w+)?\((?P<base>%\w+)?(?:,(?P<index>%\w+)(?:,(?P<scale>\d))?)?\)"
)
_ARM = re.compile(r"\[(?P<base>\w+)(?:,\s*#?(?P<rest>[-+]?\w+))?\]")


class Operand(Row):
    """Where an argument is: a constant, in a register, or in memory at an address.

    `value` is the constant; `register` names a register without "%". In memory the
    address is `register` + `index_register` * `scale` + `value`. `size` in bytes; "" for what it
    has not. `kind` is "constant", "register", "memory", or "" for what programs cannot
    read (floating point, addresses of variables): `text` is what the note says.
    """

    kind: str
    size: int
    signed: bool
    value: int = 0
    register: str = ""
    index_register: str = ""
    scale: int = 1
    text: str = ""


class StaticProbe(Row):
    """One place of a static probe.

    `address` and `semaphore` (0: none) are those that the file is linked for; `operands`
    is the text of its arguments.
    """

    provider: str
    name: str
    address: int
    semaphore: int
    operands: str


Parser = Callable[[str, Operand], "Operand | None"]


def static_probes(file: ElfFile) -> Iterator[StaticProbe]:
    """The probes of a file, one for each place, as they are in it.

    Raises:
        ObjectError: the notes are damaged, or of another class of machine.
    """
    section, base = file.section(_SECTION), file.section(_BASE)
    if section is None:
        return
    content, at = file.content(section), 0
    while at + 12 <= len(content):
        name_size, size, kind = struct.unpack_from("<III", content, at)
        start = at + 12 + (name_size + 3 & ~3)
        end = start + size
        if end > len(content):
            raise ObjectError(f"{_SECTION} ends within a note")
        if kind == _KIND and content[at + 12 : at + 19] == b"stapsdt":
            yield _probe(content[start:end], base.address if base else 0)
        at = start + (size + 3 & ~3)


def _probe(note: bytes, base: int) -> StaticProbe:
    if len(note) < 24:
        raise ObjectError(f"a note of {_SECTION} is cut short")
    address, linked_base, semaphore = struct.unpack_from("<QQQ", note)
    words = note[24:].split(b"\0")
    if len(words) < 3:
        raise ObjectError(f"a note of {_SECTION} has no name")
    # Prelinking moves the file, and with it the section that marks where it was.
    moved = base - linked_base if base else 0
    provider, name, operands = (word.decode(errors="replace") for word in words[:3])
    where = semaphore + moved if semaphore else 0
    return StaticProbe(provider, name, address + moved, where, operands)


def parse_operands(text: str, machine: str) -> tuple[Operand, ...]:
    """The arguments of a probe, in order; `machine` is "x86_64" or "aarch64".

    An argument that programs cannot read has the kind "".
    """
    words = _SPLIT.split(text.strip()) if text.strip() else []
    parse = _PARSERS.get(machine, _none)
    return tuple(_operand(word, parse) for word in words)


def _operand(word: str, parse: Parser) -> Operand:
    head = _HEAD.fullmatch(word)
    if head is None:
        return Operand("", 8, False, text=word)
    size, is_float, place = head.groups()
    bytes_, signed = abs(int(size)), int(size) < 0
    plain = Operand("", bytes_, signed, text=word)
    if is_float or bytes_ not in _SIZES:
        return plain
    return parse(place.strip(), plain) or plain


def _x86(place: str, plain: Operand) -> Operand | None:
    if place.startswith("$"):
        return _constant(place[1:], plain)
    if place.startswith("%"):
        return plain._replace(kind="register", register=place[1:])
    memory = _X86.fullmatch(place)
    if memory is None or not (memory["base"] or memory["index"]):
        return None
    offset = _integer(memory["offset"] or "0")
    if offset is None or memory["base"] == "%rip":
        return None
    return plain._replace(
        kind="memory",
        value=offset,
        register=(memory["base"] or "").removeprefix("%"),
        index_register=(memory["index"] or "").removeprefix("%"),
        scale=int(memory["scale"] or 1),
    )


def _arm(place: str, plain: Operand) -> Operand | None:
    memory = _ARM.fullmatch(place)
    if memory is not None:
        rest = memory["rest"] or "0"
        offset = _integer(rest)
        index = "" if offset is not None else rest
        return plain._replace(
            kind="memory",
            register=memory["base"],
            value=offset or 0,
            index_register=index,
        )
    if _integer(place.removeprefix("#")) is not None:
        return _constant(place.removeprefix("#"), plain)
    if re.fullmatch(r"[xw]\d+|sp|wsp|lr|fp|xzr|wzr", place):
        if place in ("xzr", "wzr"):
            return _constant("0", plain)
        return plain._replace(kind="register", register=place)
    return None


def _none(place: str, plain: Operand) -> Operand | None:
    del place, plain
    return None


_PARSERS = {"x86_64": _x86, "aarch64": _arm}


def _constant(text: str, plain: Operand) -> Operand | None:
    value = _integer(text)
    return None if value is None else plain._replace(kind="constant", value=value)


def _integer(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None
