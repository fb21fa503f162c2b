"""The functions of one program or library, by address."""

from array import array
from bisect import bisect_left, bisect_right

from beewire.hints import Iterable, Iterator
from beewire.rows import Row
from beewire.symbols.elf import EXECUTABLE, ElfFile, text

_NOTYPE, _FUNCTION, _INDIRECT = 0, 2, 10  # STT_*
# How many symbols before an address are looked at: some are no functions, and functions
# lie within others, such as a signal's return in assembly.
_MOST_STEPS = 64


class UserSymbol(Row):
    """A function by the name that the linker knows; addresses are the file's."""

    name: str
    address: int
    size: int


class SymbolTable:
    """Functions by address. Nothing is made of a symbol before it is asked for.

    28 bytes a symbol and the texts of the files are kept.
    """

    __slots__ = (
        "_addresses",
        "_code",
        "_facts",
        "_order",
        "_sizes",
        "_starts",
        "_texts",
    )

    def __init__(self, files: Iterable[ElfFile]) -> None:
        """The functions of several files of one build: itself, and those with symbols.

        Raises:
            ObjectError: one of them is damaged.
        """
        self._addresses, self._sizes = array("Q"), array("Q")
        self._facts = array("Q")
        self._code: list[tuple[int, int]] = []
        # Where the symbols of each table begin, and their texts.
        self._starts: list[int] = []
        self._texts: list[bytes] = []
        for file in files:
            self._code += [
                (each.address, each.address + each.size)
                for each in file.segments
                if each.flags & EXECUTABLE
            ]
            for symbols, names in file.symbols():
                self._starts.append(len(self._addresses))
                self._texts.append(names)
                self._addresses += symbols.addresses
                self._sizes += symbols.sizes
                self._facts += symbols.facts
        key = self._addresses.__getitem__
        self._order = array("I", sorted(range(len(self._addresses)), key=key))

    def __len__(self) -> int:
        """How many symbols there are, functions or not."""
        return len(self._order)

    def find(self, address: int) -> UserSymbol | None:
        """The function that `address` lies in, or None.

        One without a size reaches to the next. Of several names the plainest is given.
        """
        key = self._addresses.__getitem__
        last = bisect_right(self._order, address, key=key) - 1
        begins = -1
        for place in range(last, max(last - _MOST_STEPS, -1), -1):
            index = self._order[place]
            start, size = self._addresses[index], self._sizes[index]
            if not self._is_code(index):
                continue
            if begins < 0:
                begins = start
            if address < start + size or (size == 0 and start == begins):
                return self._plainest(start)
        return None

    def named(self, name: str) -> list[UserSymbol]:
        """Functions of that name; a version behind "@" need not be given."""
        wanted = (name.encode() + b"\0", name.encode() + b"@")
        return [
            self._symbol(index)
            for index in range(len(self._addresses))
            if self._is_code(index)
            and self._text(index).startswith(wanted, self._facts[index] & 0xFFFF_FFFF)
        ]

    def __iter__(self) -> Iterator[UserSymbol]:
        """All functions, by address."""
        for index in self._order:
            if self._is_code(index):
                yield self._symbol(index)

    def _is_code(self, index: int) -> bool:
        """Whether it is a function that is defined here."""
        facts = self._facts[index]
        if not facts >> 48:
            return False
        kind = facts >> 32 & 15
        if kind != _NOTYPE:
            return kind in {_FUNCTION, _INDIRECT}
        # What hand-written assembly leaves without a type may be anything.
        address = self._addresses[index]
        return any(start <= address < end for start, end in self._code)

    def _text(self, index: int) -> bytes:
        return self._texts[bisect_right(self._starts, index) - 1]

    def _symbol(self, index: int) -> UserSymbol:
        name = text(self._text(index), self._facts[index] & 0xFFFF_FFFF)
        return UserSymbol(name, self._addresses[index], self._sizes[index])

    def _plainest(self, start: int) -> UserSymbol:
        """Of the functions that begin there: with a size, few underscores, and short."""
        key = self._addresses.__getitem__
        place = bisect_left(self._order, start, key=key)
        found = []
        while place < len(self._order) and self._addresses[self._order[place]] == start:
            if self._is_code(self._order[place]):
                found.append(self._symbol(self._order[place]))
            place += 1
        return min(found, key=_rank)


def _rank(symbol: UserSymbol) -> tuple[bool, bool, int, int]:
    name = symbol.name
    underscores = len(name) - len(name.lstrip("_"))
    return not name, not symbol.size, underscores, len(name)
