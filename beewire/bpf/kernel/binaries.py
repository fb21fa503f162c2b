"""Programs and libraries that probes are put in: where they are, where their functions are.

A place is told as people do ("libc:malloc", "/bin/bash:readline+0x10", "path:0x4711") and
becomes an offset into the file, which is what the kernel wants.
"""

import os
import struct

from beewire.bpf.kernel import syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.errors import AttachError, ObjectError
from beewire.hints import Iterator, Self
from beewire.rows import Row
from beewire.symbols.debug import debug_file, mini_debug_info
from beewire.symbols.elf import ElfFile, Section, Symbols, text

_FUNCTION, _INDIRECT = 2, 10  # STT_FUNC, STT_GNU_IFUNC
_RANK = {1: 0, 2: 1, 0: 2}  # STB_GLOBAL before STB_WEAK before STB_LOCAL
_DYNSYM = 11  # SHT_DYNSYM
_BASE_VERSION = 1  # VER_FLG_BASE: the library's own name
_LIBRARIES = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")


class _Function(Row):
    rank: int
    address: int
    name: str


class Binary(Descriptor):
    """A program or library, open to look up what is in it.

    `path` is what the kernel is given: seen from the process, where one was named.
    """

    __slots__ = ("elf", "path")

    def __init__(self, fd: int, path: str, elf: ElfFile) -> None:
        super().__init__(fd)
        self.path = path
        self.elf = elf

    @classmethod
    def find(cls, name: str, pid: int = -1) -> Self:
        """Open what `name` means: a path, a program in PATH, or a library ("libc").

        With `pid` it is looked up among the files that this process sees.

        Raises:
            AttachError: there is none, or it is no ELF file.
        """
        root = _root(pid)
        path = root + name if name.startswith("/") else _search(name, root)
        try:
            fd = syscall.open_file(path)
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise AttachError(f"cannot put a probe in {path}: {reason}") from None
        with Descriptor(fd) as held:
            try:
                elf = ElfFile.open(fd)
            except ObjectError as error:
                raise AttachError(f"cannot put a probe in {path}: {error}") from None
            return cls(held.release(), path, elf)

    def offset(self, place: str) -> int:
        """Where in the file a place is: "malloc", "memcpy@GLIBC_2.14", "main+16", "0x4711".

        Raises:
            AttachError: there is no such function; the message tells names that are near.
        """
        name, plus, more = place.partition("+")
        if name[:1].isdigit():
            return _number(name, place) + (_number(more, place) if plus else 0)
        if self._is_indirect(name):
            raise AttachError(
                f"{name!r} of {self.path} is chosen when the program starts (an ifunc): "
                "probe the variant that it becomes, or a version (name@VERSION)"
            )
        found = self._candidates(name)
        addresses = {each.address for each in found}
        if not found:
            raise AttachError(self._unknown(name))
        if len(addresses) > 1:
            shown = " or ".join(
                f"{self.file_offset(each):#x}" for each in sorted(addresses)
            )
            raise AttachError(
                f"{self.path} has several functions called {name!r}: write the offset "
                f"of one, {shown}, or its version (name@VERSION)"
            )
        return self.file_offset(addresses.pop()) + (_number(more, place) if plus else 0)

    def file_offset(self, address: int) -> int:
        """Where the file holds what lies at an address.

        Raises:
            AttachError: it does not.
        """
        found = self.elf.offset_at(address)
        if found is None:
            raise AttachError(f"address {address:#x} is not in the file {self.path}")
        return found

    def functions(self, pattern: str) -> list[tuple[str, int]]:
        """Functions that a pattern with `*`, `?`, `[...]` matches: (name, file offset).

        Raises:
            AttachError: there is none.
        """
        from fnmatch import translate  # noqa: PLC0415 - patterns only
        from re import compile as compile_pattern  # noqa: PLC0415 - patterns only

        matches = compile_pattern(translate(pattern)).match
        found = {
            self.file_offset(each.address): each.name
            for each in self._all()
            if matches(each.name)
        }
        if not found:
            raise AttachError(f"{self.path} has no function like {pattern!r}")
        return sorted((name, offset) for offset, name in found.items())

    def _candidates(self, name: str) -> list[_Function]:
        """The functions of this name, those only that count more than the others."""
        base, _, version = name.replace("@@", "@").partition("@")
        wanted = (base, version)
        for tables in self._tables():
            found: list[_Function] = []
            for table, names, versions in tables:
                found += _named(table, names, versions, *wanted)
            if found:
                best = min(each.rank for each in found)
                return [each for each in found if each.rank == best]
        return []

    def _tables(self) -> Iterator[list[tuple[Symbols, bytes, dict[int, str]]]]:
        """The file's own symbols first; then those kept elsewhere, of stripped files."""
        own = self.elf.symbols()
        dynamic = any(each.kind == _DYNSYM for each in self.elf.sections)
        versions = [_versions(self.elf) if dynamic else {}]
        last = len(own) - 1
        yield [
            (table, names, versions[0] if number == last else {})
            for number, (table, names) in enumerate(own)
        ]
        mini = mini_debug_info(self.elf)
        if mini is not None:
            yield [(table, names, {}) for table, names in mini.symbols()]
        fd = debug_file(self.elf, self.path)
        if fd >= 0:
            with Descriptor(fd):
                yield [(*each, {}) for each in ElfFile.open(fd).symbols()]

    def _all(self) -> Iterator[_Function]:
        for tables in self._tables():
            for table, names, _ in tables:
                for address, fact in zip(table.addresses, table.facts, strict=True):
                    if _is_function(fact):
                        name = text(names, fact & 0xFFFF_FFFF).partition("@")[0]
                        yield _Function(0, address, name)

    def _unknown(self, name: str) -> str:
        from beewire.bpf.kernel.hooks import near  # noqa: PLC0415 - errors only

        known = sorted({each.name for each in self._all()})
        similar = near(name, known)
        hint = f"did you mean {similar}?" if similar else (
            "it is inlined, or its symbols are stripped: give an offset (0x...)"
            if known
            else "it has no symbols: give an offset (0x...)"
        )  # fmt: skip
        return f"{self.path} has no function {name!r}; {hint}"

    def _is_indirect(self, name: str) -> bool:
        for table, names in self.elf.symbols():
            starts = _starts(names, name)
            for fact in table.facts:
                if fact & 0xFFFF_FFFF in starts and fact >> 32 & 0xF == _INDIRECT:
                    return True
        return False


def split_place(place: str) -> tuple[str, str]:
    """The binary and the function of "path:function".

    Raises:
        AttachError: one of them is missing.
    """
    path, colon, function = place.rpartition(":")
    if not (path and colon and function):
        raise AttachError(
            f"{place!r} is no place of a probe: write path:function, as in "
            '"/bin/bash:readline", "libc:malloc+4" or "/bin/bash:0x1234"'
        )
    return path, function


def _named(
    table: Symbols,
    names: bytes,
    versions: dict[int, str],
    base: str,
    version: str,
) -> list[_Function]:
    starts = _starts(names, base)
    found = []
    for number, fact in enumerate(table.facts):
        if fact & 0xFFFF_FFFF not in starts or not _is_function(fact):
            continue
        # A version stands in a table of its own, or behind the name.
        spelled = text(names, fact & 0xFFFF_FFFF).replace("@@", "@").partition("@")[2]
        has = versions.get(number, spelled)
        if not version or version == has.removeprefix("@"):
            rank = _RANK.get(fact >> 36 & 0xF, 3) * 2 + has.startswith("@")
            found.append(_Function(rank, table.addresses[number], base))
    return found


def _starts(names: bytes, base: str) -> set[int]:
    """Where the name is in a string table: also as the end of another one."""
    found = set()
    word = base.encode()
    at = names.find(word)
    while at >= 0:
        if names[at + len(word) : at + len(word) + 1] in (b"\0", b"@"):
            found.add(at)
        at = names.find(word, at + 1)
    return found


def _is_function(fact: int) -> bool:
    # Defined here (st_shndx), and code that runs when it is called.
    return fact >> 32 & 0xF == _FUNCTION and fact >> 48 & 0xFFFF != 0


def _versions(elf: ElfFile) -> dict[int, str]:
    """The version of each dynamic symbol; "@" before it where it is not the default."""
    symbols, definitions = elf.section(".gnu.version"), elf.section(".gnu.version_d")
    if symbols is None or definitions is None:
        return {}
    names = _definitions(elf, definitions)
    numbers = struct.unpack(
        f"<{symbols.size // 2}H", elf.content(symbols)[: symbols.size // 2 * 2]
    )
    return {
        index: ("@" if number & 0x8000 else "") + names[number & 0x7FFF]
        for index, number in enumerate(numbers)
        if number & 0x7FFF in names
    }


def _definitions(elf: ElfFile, section: Section) -> dict[int, str]:
    """What `.gnu.version_d` calls each version number."""
    content, found, at = elf.content(section), {}, 0
    texts = elf.content(elf.sections[section.link])
    while at + 20 <= len(content):
        # Elf64_Verdef: version, flags, index, count, hash, first Verdaux, next
        _, flags, index, _, _, first, following = struct.unpack_from(
            "<HHHHIII", content, at
        )
        if not flags & _BASE_VERSION and at + first + 4 <= len(content):
            found[index] = text(texts, struct.unpack_from("<I", content, at + first)[0])
        if not following:
            break
        at += following
    return found


def _number(word: str, place: str) -> int:
    try:
        return int(word, 0)
    except ValueError:
        raise AttachError(
            f"{word!r} in {place!r} is no number of bytes, such as 16 or 0x10"
        ) from None


def _root(pid: int) -> str:
    """What goes before the paths that a process sees: "" where they are ours too.

    Raises:
        AttachError: there is no such process.
    """
    if pid <= 0:
        return ""
    theirs = f"/proc/{pid}/root"
    try:
        there, here = os.stat(theirs), os.stat("/")  # noqa: PTH116 - no pathlib here
    except FileNotFoundError:
        raise AttachError(f"there is no process {pid}") from None
    except OSError:
        return ""
    same = (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
    return "" if same else theirs


def _search(name: str, root: str) -> str:
    if "/" in name:
        return name
    for directory in _directories(name):
        for found in _spellings(f"{root}{directory}", name):
            if os.path.isfile(found):  # noqa: PTH113 - no pathlib here
                return found
    raise AttachError(
        f"there is no program or library {name!r} in PATH or where libraries are: "
        "write its path"
    )


def _directories(name: str) -> list[str]:
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    machine = os.uname().machine
    libraries += [f"{each}/{machine}-linux-gnu" for each in ("/lib", "/usr/lib")]
    libraries += _LIBRARIES
    programs = os.environ.get("PATH", "/usr/bin:/bin").split(":")
    looks_so = name.startswith("lib") or ".so" in name
    found = libraries + programs if looks_so else programs + libraries
    return [each for each in found if each]


def _spellings(directory: str, name: str) -> Iterator[str]:
    """`libc` is libc.so.6; a mere libc.so may be text that linkers read."""
    yield f"{directory}/{name}"
    if name.startswith("lib") and ".so" not in name:
        try:
            there = os.listdir(directory)  # noqa: PTH208 - no pathlib here
        except OSError:
            return
        found = sorted(each for each in there if each.startswith(f"{name}.so"))
        yield from (f"{directory}/{each}" for each in reversed(found))
