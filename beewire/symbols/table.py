"""The functions of one program or library, by address."""

from array import array
from bisect import bisect_right

from beewire.hints import Iterable
from beewire.rows import Row
from beewire.symbols.elf import EXECUTABLE, ElfFile, text

# How many functions may lie within another, such as a signal's return in assembly.
_NESTED = 8


class UserSymbol(Row):
    """A function by the name that the linker knows; addresses are the file's."""

    name: str
    address: int
    size: int


class SymbolTable:
    """Functions sorted by address: 28 bytes each, and the texts of the files."""

    __slots__ = ("_ends", "_names", "_starts", "_texts")

    def __init__(self, files: Iterable[ElfFile]) -> None:
        """The functions of several files of one build: itself, and those with symbols.

        Raises:
            ObjectError: one of them is damaged.
        """
        rows: list[tuple[int, int, int, int, int]] = []
        self._texts: list[bytes] = []
        for file in files:
            code = [each for each in file.segments if each.flags & EXECUTABLE]
            for symbols, names in file.symbols():
                number = len(self._texts)
                self._texts.append(names)
                for address, size, name, kind in symbols:
                    # Without a type it may be anything: code only where code is.
                    if kind or any(
                        s.address <= address < s.address + s.size for s in code
                    ):
                        rows.append((address, size, -kind, number, name))
        rows.sort()
        self._starts = array("Q", [row[0] for row in rows])
        self._ends = array("Q", [min(row[0] + row[1], 2**64 - 1) for row in rows])
        self._names = [(row[3], row[4]) for row in rows]

    def __len__(self) -> int:
        return len(self._starts)

    def find(self, address: int) -> UserSymbol | None:
        """The function that `address` lies in, or None.

        One without a size reaches to the next. Of several names the plainest is given.
        """
        at = bisect_right(self._starts, address) - 1
        for place in range(at, max(at - _NESTED, -1), -1):
            start, end = self._starts[place], self._ends[place]
            if address < end or (start == end and place == at):
                return self._plainest(place)
        return None

    def named(self, name: str) -> list[UserSymbol]:
        """Functions of that name; a version behind "@" need not be given."""
        wanted = name.encode()
        found = []
        for place, (number, offset) in enumerate(self._names):
            if self._texts[number].startswith(wanted + b"\0", offset):
                found.append(self._symbol(place))
        return found

    def _symbol(self, place: int) -> UserSymbol:
        number, offset = self._names[place]
        start = self._starts[place]
        return UserSymbol(
            text(self._texts[number], offset), start, self._ends[place] - start
        )

    def _plainest(self, place: int) -> UserSymbol:
        best = self._symbol(place)
        start = best.address
        while place and self._starts[place - 1] == start:
            place -= 1
            other = self._symbol(place)
            if other.size and _rank(other.name) <= _rank(best.name):
                best = other
        return best


def _rank(name: str) -> tuple[bool, int, int]:
    return not name, len(name) - len(name.lstrip("_")), len(name)
