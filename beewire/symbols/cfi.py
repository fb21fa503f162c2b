"""Unwind tables (.eh_frame): where a function keeps its caller's address.

Compilers write them for exceptions, so that nearly all programs and libraries have them,
also those without frame pointers. LSB core, chapters 10.6; DWARF 5, section 6.4.
"""

import struct
import sys
from array import array
from bisect import bisect_right

from beewire.errors import ObjectError
from beewire.rows import Row
from beewire.symbols.elf import ElfFile

_HDR_ENCODING = 0x3B  # DW_EH_PE_datarel | DW_EH_PE_sdata4: what all linkers write
_OMITTED = 0xFF
_MOST_OPS = 4096


class Rule(Row):
    """How to find the caller at one place.

    The canonical frame address (CFA) is a register and an offset, or an expression. The
    caller's address and frame pointer are saved at offsets from it, or where expressions
    say (signals): None says that there is no caller, or that the register was not changed.
    """

    register: int
    offset: int
    expression: bytes
    caller: int | bytes | None
    frame: int | bytes | None


class _Common(Row):
    """A CIE: what functions share."""

    code_align: int
    data_align: int
    caller: int
    encoding: int
    augmented: bool
    start: int
    end: int


class UnwindTable:
    """The unwind table of one file: `find(address)` of the file's own addresses.

    `frame` is the number that DWARF gives the machine's frame pointer.
    """

    __slots__ = ("_base", "_commons", "_data", "_entries", "_frame", "_hdr", "_starts")

    def __init__(self, file: ElfFile, frame: int = 6) -> None:
        """Read the table of `file`.

        Raises:
            ObjectError: it has none that can be searched, or it is damaged.
        """
        index, frames = file.section(".eh_frame_hdr"), file.section(".eh_frame")
        if index is None or frames is None:
            raise ObjectError("it has no unwind table (.eh_frame_hdr)")
        self._frame = frame
        self._data, self._base = file.content(frames), frames.address
        self._hdr = index.address
        header = file.content(index)
        if len(header) < 12 or header[0] != 1 or header[3] != _HDR_ENCODING:
            raise ObjectError("its unwind table has no index")
        # version, three encodings; where .eh_frame is; how many entries; then the entries
        [count] = struct.unpack_from("<I", header, 8)
        pairs = array("i")
        pairs.frombytes(header[12 : 12 + min(count, (len(header) - 12) // 8) * 8])
        if sys.byteorder == "big":
            pairs.byteswap()
        self._starts, self._entries = pairs[0::2], pairs[1::2]
        self._commons: dict[int, _Common] = {}

    def find(self, address: int) -> Rule | None:
        """How to find the caller of what runs at `address`; None where nothing tells it.

        Raises:
            ObjectError: the table is damaged.
        """
        place = bisect_right(self._starts, address - self._hdr) - 1
        if place < 0:
            return None
        try:
            return self._rule(self._entries[place] + self._hdr - self._base, address)
        except (IndexError, ValueError, struct.error) as error:
            if isinstance(error, ObjectError):
                raise
            raise ObjectError("its unwind table is damaged") from error

    def _rule(self, at: int, address: int) -> Rule | None:
        common = self._common(at)
        [length] = struct.unpack_from("<I", self._data, at)
        end = at + 4 + length
        start, place = self._pointer(at + 8, common.encoding)
        size, place = self._pointer(place, common.encoding & 0x0F)
        if not start <= address < start + size:
            return None
        if common.augmented:
            skipped, place = uleb(self._data, place)
            place += skipped
        state = _State(common, self._frame)
        state.run(self._data[common.start : common.end], 0, 1 << 64)
        state.initial = state.saved.copy()
        state.run(self._data[place:end], start, address)
        return state.rule()

    def _common(self, at: int) -> _Common:
        """The CIE of the entry at `at`."""
        [distance] = struct.unpack_from("<I", self._data, at + 4)
        place = at + 4 - distance
        found = self._commons.get(place)
        if found is None:
            if not distance or place < 0:
                raise ObjectError("its unwind table is damaged")
            found = self._commons[place] = self._read_common(place)
        return found

    def _read_common(self, at: int) -> _Common:
        [length] = struct.unpack_from("<I", self._data, at)
        end = at + 4 + length
        version = self._data[at + 8]
        text_end = self._data.index(b"\0", at + 9)
        text = self._data[at + 9 : text_end].decode("latin-1")
        code, place = uleb(self._data, text_end + 1)
        data, place = sleb(self._data, place)
        if version == 1:
            caller, place = self._data[place], place + 1
        else:
            caller, place = uleb(self._data, place)
        encoding = 0
        if text.startswith("z"):
            size, place = uleb(self._data, place)
            encoding = self._augmentation(text[1:], place)
            place += size
        return _Common(code, data, caller, encoding, text.startswith("z"), place, end)

    def _augmentation(self, text: str, place: int) -> int:
        """How addresses are encoded."""
        for letter in text:
            if letter == "R":
                return self._data[place]
            if letter == "P":
                _, place = self._pointer(place + 1, self._data[place] & 0x7F)
            elif letter == "L":
                place += 1
        return 0

    def _pointer(self, place: int, encoding: int) -> tuple[int, int]:
        """An encoded address, and what follows it."""
        if encoding == _OMITTED:
            return 0, place
        form = _FORMS.get(encoding & 0x0F)
        if form is None:
            raise ObjectError("its unwind table has addresses that no linker writes")
        [value] = form.unpack_from(self._data, place)
        if encoding & 0x70 == 0x10:  # DW_EH_PE_pcrel
            value += self._base + place
        elif encoding & 0x70 == 0x30:  # DW_EH_PE_datarel
            value += self._hdr
        return value & (1 << 64) - 1, place + form.size


_FORMS = {
    0x00: struct.Struct("<Q"),
    0x02: struct.Struct("<H"),
    0x03: struct.Struct("<I"),
    0x04: struct.Struct("<Q"),
    0x0A: struct.Struct("<h"),
    0x0B: struct.Struct("<i"),
    0x0C: struct.Struct("<q"),
}

# A saved register by its place: an offset from the CFA, or an expression; None: it is
# not kept.
Saved = dict[int, int | bytes | None]


class _State:
    """The registers' places while the instructions of a function are followed."""

    def __init__(self, common: _Common, frame: int) -> None:
        self.common, self.frame = common, frame
        self.register, self.offset, self.expression = 0, 0, b""
        self.saved: Saved = {}
        self.initial: Saved = {}
        self.kept: list[tuple[int, int, bytes, Saved]] = []

    def rule(self) -> Rule:
        return Rule(
            self.register,
            self.offset,
            self.expression,
            self.saved.get(self.common.caller),
            self.saved.get(self.frame),
        )

    def run(self, code: bytes, location: int, until: int) -> None:
        """Follow instructions up to the place `until`."""
        at = ops = 0
        while at < len(code) and ops < _MOST_OPS:
            ops += 1
            op, low = code[at] & 0xC0, code[at] & 0x3F
            at += 1
            if op == 0x40:  # DW_CFA_advance_loc
                location += low * self.common.code_align
            elif op == 0x80:  # DW_CFA_offset
                value, at = uleb(code, at)
                self.saved[low] = value * self.common.data_align
            elif op == 0xC0:  # DW_CFA_restore
                self._restore(low)
            elif low in _ADVANCES:
                form = _ADVANCES[low]
                location += form.unpack_from(code, at)[0] * self.common.code_align
                at += form.size
            else:
                at = self._other(low, code, at)
            if location > until:
                return

    def _restore(self, register: int) -> None:
        self.saved.pop(register, None)
        if register in self.initial:
            self.saved[register] = self.initial[register]

    def _other(self, op: int, code: bytes, at: int) -> int:
        """An instruction that stays where it is; where the next one is."""
        if op == 0x0A:  # DW_CFA_remember_state
            kept = (self.register, self.offset, self.expression, self.saved.copy())
            self.kept.append(kept)
        elif op == 0x0B and self.kept:  # DW_CFA_restore_state
            self.register, self.offset, self.expression, self.saved = self.kept.pop()
        elif op in _OPERANDS:
            values = []
            for kind in _OPERANDS[op]:
                if kind == "b":
                    size, at = uleb(code, at)
                    values.append(at)
                    at += size
                else:
                    value, at = (uleb if kind == "u" else sleb)(code, at)
                    values.append(value)
            self._apply(
                op, values, code[values[-1] : at] if "b" in _OPERANDS[op] else b""
            )
        elif op not in {0x00, 0x0B, 0x2D}:
            raise ObjectError("its unwind table has instructions that are unknown")
        return at

    def _apply(self, op: int, values: list[int], block: bytes) -> None:
        first = values[0]
        if op == 0x0F:  # DW_CFA_def_cfa_expression
            self.expression = block
        elif op == 0x0D:  # DW_CFA_def_cfa_register
            self.register = first
        elif op in {0x0C, 0x0E, 0x12, 0x13}:  # DW_CFA_def_cfa, .._offset, .._sf
            factor = self.common.data_align if op >= 0x12 else 1
            self.register = first if len(values) == 2 else self.register
            self.offset, self.expression = values[-1] * factor, b""
        elif op in {0x06, 0x08}:  # DW_CFA_restore_extended, DW_CFA_same_value
            self.saved.pop(first, None)
            if op == 0x06:
                self._restore(first)
        elif op in {
            0x05,
            0x11,
            0x2F,
        }:  # DW_CFA_offset_extended, .._sf, GNU's negative one
            factor = -1 if op == 0x2F else self.common.data_align
            self.saved[first] = values[1] * factor
        elif op == 0x10:  # DW_CFA_expression
            self.saved[first] = block
        elif op != 0x2E:  # all but DW_CFA_GNU_args_size: the register is not kept
            self.saved[first] = None


_ADVANCES = {
    0x02: struct.Struct("<B"),
    0x03: struct.Struct("<H"),
    0x04: struct.Struct("<I"),
}
# Operands by instruction: unsigned and signed LEB128, a block.
_OPERANDS = {
    0x05: "uu", 0x06: "u", 0x07: "u", 0x08: "u", 0x09: "uu", 0x0C: "uu", 0x0D: "u",
    0x0E: "u", 0x0F: "b", 0x10: "ub", 0x11: "us", 0x12: "us", 0x13: "s", 0x14: "uu",
    0x15: "us", 0x16: "ub", 0x2E: "u", 0x2F: "uu",
}  # fmt: skip


def uleb(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80 or shift > 70:
            return value, at


def sleb(data: bytes, at: int) -> tuple[int, int]:
    """A signed LEB128 number, and where it ends."""
    start = at
    value, at = uleb(data, at)
    bits = 7 * (at - start)
    return (value - (1 << bits) if data[at - 1] & 0x40 else value), at
