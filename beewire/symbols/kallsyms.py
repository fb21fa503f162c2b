"""The kernel's symbols, modules' and BPF programs' included, by /proc/kallsyms.

The file is read as a stream and kept as sorted blocks of its own text, without what the
addresses of a block have in common: 4 MB for 120,000 symbols, and nothing is parsed
before it is asked for.
"""

import errno
from bisect import bisect_right

from beewire.errors import NotPermitted
from beewire.hints import Iterable, Iterator
from beewire.rows import Row

PATH = "/proc/kallsyms"
_BLOCK = 1 << 16
_DIGITS = 16
# They mark ends: what lies behind is no function.
_ENDS = (b"_etext", b"_einittext", b"__entry_text_end", b"_end", b"__irqentry_text_end")
# No function is as long: an address so far behind one is in none.
_LONGEST = 1 << 20


class KernelSymbol(Row):
    """A function of the kernel; `module` is "" for the kernel's own, "bpf" for programs."""

    name: str
    address: int
    module: str


class KernelSymbols:
    """All functions of the running kernel: `find(address)`.

    What is loaded later (modules, programs) is not in it: read it again.
    """

    __slots__ = ("_blocks", "_lines", "_opened", "_prefixes", "_starts")

    def __init__(self, lines: Iterable[bytes]) -> None:
        """Keep pieces of text that has the form of /proc/kallsyms, cut at line ends.

        Raises:
            NotPermitted: the addresses are hidden, that is zero.
        """
        self._blocks: list[bytes] = []
        self._prefixes: list[bytes] = []
        self._starts: list[int] = []
        # The block that was split last: addresses that are asked for often lie together.
        self._opened, self._lines = -1, [b""]
        loose: list[bytes] = []
        for block in lines:
            if loose or b"\t[" in block:
                loose += block.splitlines()
            else:
                self._add(block)
        self._add_loose(loose)
        if not any(self._starts) and (not self._blocks or not self._last()):
            raise hidden()

    @classmethod
    def read(cls) -> "KernelSymbols":
        """The symbols of the running kernel.

        Raises:
            NotPermitted: the addresses are hidden from this process
                (kernel.kptr_restrict), or there is no /proc/kallsyms.
        """
        return cls(pieces())

    def find(self, address: int) -> KernelSymbol | None:
        """The function that `address` lies in, or None."""
        number = bisect_right(self._starts, address) - 1
        if number < 0:
            return None
        if number != self._opened:
            self._lines = self._blocks[number].split(b"\n")
            self._opened = number
        prefix, lines = self._prefixes[number], self._lines
        wanted = b"%0*x" % (_DIGITS, address)
        digits = _DIGITS - len(prefix)
        # Behind every line of this address: "~" comes after all that names are made of.
        place = bisect_right(lines, wanted[len(prefix) :] + b"~") - 1
        found = _best(lines, place, digits)
        start = int(prefix + found[:digits], 16)
        name, _, module = found[digits + 3 :].partition(b"\t")
        if name in _ENDS or address - start > _LONGEST:
            return None
        return KernelSymbol(
            name.decode(errors="replace"), start, module.strip(b"[]").decode()
        )

    def _add(self, block: bytes) -> None:
        """Keep sorted lines, without what their addresses begin with."""
        text = block.rstrip(b"\n")
        first, last = text[:_DIGITS], text[text.rfind(b"\n") + 1 :][:_DIGITS]
        common = 0
        while common < _DIGITS and first[common] == last[common]:
            common += 1
        prefix = first[:common]
        short = text[common:].replace(b"\n" + prefix, b"\n")
        self._blocks.append(short)
        self._prefixes.append(prefix)
        self._starts.append(int(first, 16))

    def _add_loose(self, lines: list[bytes]) -> None:
        """Keep the lines of modules and programs, which are in no order.

        They lie before or behind the kernel (by architecture); no block is to reach over.
        """
        lines.sort()
        core = b"%0*x" % (_DIGITS, self._starts[0] if self._starts else 0)
        middle = bisect_right(lines, core)
        if (
            self._blocks
            and lines[middle:]
            and int(lines[middle][:16], 16) < self._last()
        ):
            lines = sorted([*lines, *self._all_lines()])
            self._blocks, self._prefixes, self._starts, middle = [], [], [], 0
        for part in (lines[:middle], lines[middle:]):
            for at in range(0, len(part), 1024):
                self._add(b"\n".join(part[at : at + 1024]))
        order = sorted(range(len(self._starts)), key=self._starts.__getitem__)
        self._blocks = [self._blocks[at] for at in order]
        self._prefixes = [self._prefixes[at] for at in order]
        self._starts = [self._starts[at] for at in order]

    def _all_lines(self) -> list[bytes]:
        return [
            prefix + line
            for prefix, block in zip(self._prefixes, self._blocks, strict=True)
            for line in block.split(b"\n")
        ]

    def _last(self) -> int:
        digits = _DIGITS - len(self._prefixes[-1])
        line = self._blocks[-1].rpartition(b"\n")[2]
        return int(self._prefixes[-1] + line[:digits], 16)


def _best(lines: list[bytes], place: int, digits: int) -> bytes:
    """Of the names that one address has the plainest: `vfs_read` before `__vfs_read`."""
    best = lines[place]
    here = best[:digits]
    while place and lines[place - 1][:digits] == here:
        place -= 1
        if _rank(lines[place], digits) <= _rank(best, digits):
            best = lines[place]
    return best


def _rank(line: bytes, digits: int) -> tuple[bool, int, bool]:
    name = line[digits + 3 :]
    underscores = len(name) - len(name.lstrip(b"_"))
    # Linker scripts' marks (_stext) have one, and nothing of its own.
    local = line[digits + 1 : digits + 2].islower()
    return name in _MARKS, underscores, local


_MARKS = (b"_text", b"_stext", b"_sinittext", *_ENDS)


def pieces() -> Iterator[bytes]:
    """The text of /proc/kallsyms in pieces of whole lines.

    Raises:
        NotPermitted: it cannot be read.
    """
    try:
        with open(PATH, "rb", buffering=_BLOCK) as file:  # noqa: PTH123 - no pathlib here
            while block := file.read(_BLOCK):
                yield block + (b"" if block.endswith(b"\n") else file.readline())
    except OSError as error:
        message = f"cannot read {PATH}: {error.strerror}"
        raise NotPermitted(error.errno or 0, "kallsyms", message) from error


def hidden() -> NotPermitted:
    """The error that tells why all addresses are zero."""
    level, paranoid = _setting("kptr_restrict"), _setting("perf_event_paranoid")
    why = f"kernel.kptr_restrict is {level}"
    if level == "0":
        why += f", and kernel.perf_event_paranoid {paranoid}"
    cure = "run as root or with CAP_SYSLOG"
    if level == "2":
        cure = "`sysctl kernel.kptr_restrict=1` shows them to root again"
    message = f"{PATH} hides addresses ({why}): {cure}"
    return NotPermitted(errno.EPERM, "kallsyms", message)


def _setting(name: str) -> str:
    try:
        with open(f"/proc/sys/kernel/{name}", encoding="ascii") as file:  # noqa: PTH123 - as above
            return file.read().strip()
    except OSError:
        return "unknown"
