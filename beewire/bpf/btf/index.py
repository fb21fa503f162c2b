"""Reading BTF lazily: a scan finds where each type is; decoded is what is asked for.

The kernel's own BTF has more than 100 000 types, of which a program needs a few. The
scan can be kept (`dump`, `load`), so that the next process does not repeat it.
"""

import struct
from array import array
from binascii import crc32
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from beewire.bpf.btf.builder import HEADER, MAGIC, VERSION
from beewire.bpf.btf.decoding import LENGTH, PER_PART, Source, decode_type
from beewire.bpf.btf.types import Array, Kind, Ptr, Reference, Type, Var
from beewire.errors import ObjectError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_T = TypeVar("_T", bound=Type)
_Class = type[_T]  # inside Index, `type` is a method

_WORD = struct.Struct("<I")
_BIG_ENDIAN = struct.Struct(HEADER.format.replace("<", ">"))

# What all strings that are read may take. Names are short, and few have many bearers: only
# in a file that means harm do thousands point into one string of a megabyte.
_STRINGS_ALLOWANCE, _STRINGS_FACTOR = 1 << 20, 32

# A dump begins with: magic and version, CRC of all behind it, CRC of the BTF's ends,
# first id, number of types. Then, for each type, the word at which it begins; then, for
# each, the offset of its name.
_DUMP = struct.Struct("<8sIIII")
_DUMP_MAGIC = b"bw-btf\0\1"
_DUMP_START = struct.calcsize("<8sI")

# What the fingerprint of the BTF covers at either end: header and first types, and the
# last strings. A CRC over all of it would cost more than reading the dump.
_ENDS = 4096


class Index:
    """The types of one `.BTF` blob by id and by name.

    Ids count from 1; 0 is void. With a `base`, this is split BTF, such as a module's:
    its ids and strings go on where those of `base` end.

        index = Index.build(Path("/sys/kernel/btf/vmlinux").read_bytes())
        task = index.lookup("task_struct", Struct)
    """

    __slots__ = (
        "_base",
        "_blob",
        "_first",
        "_left",
        "_name_offsets",
        "_source",
        "_starts",
        "_strings_base",
        "_types",
    )

    def __init__(
        self,
        blob: "_Blob",
        starts: "array[int] | memoryview[int]",
        name_offsets: bytes,
        base: "Index | None",
    ) -> None:
        self._blob = blob
        self._starts = starts
        self._name_offsets = name_offsets
        self._base = base
        self._first = len(base) if base else 1
        self._strings_base = base.string_end if base else 0
        self._left = _STRINGS_ALLOWANCE + _STRINGS_FACTOR * len(blob.strings)
        self._types: dict[int, Type] = {}
        self._source = Source(blob.words, self.type, self.string)

    @classmethod
    def build(cls, data: "ReadableBuffer", base: "Index | None" = None) -> "Index":
        """Scan a `.BTF` blob: 30 to 80 ms for a kernel's.

        `data` stays in use: a mapped file must remain open as long as the Index.

        Raises:
            ObjectError: this is no little-endian BTF, or it contradicts itself.
        """
        blob = _open(data)
        starts = _scan(blob.words)
        names = array("I", [blob.words[start] for start in starts])
        return cls(blob, starts, names.tobytes(), base)

    @classmethod
    def load(
        cls, dump: bytes, data: "ReadableBuffer", base: "Index | None" = None
    ) -> "Index":
        """Return what `build` would, from the dump of an Index over the same `data`.

        Raises:
            ObjectError: the dump is damaged, or was made of another BTF.
        """
        blob = _open(data)
        if len(dump) < _DUMP.size:
            raise ObjectError("the BTF index is too short")
        magic, checksum, fingerprint, first, count = _DUMP.unpack_from(dump)
        if magic != _DUMP_MAGIC or len(dump) != _DUMP.size + 8 * count:
            raise ObjectError("the BTF index is of another format or length")
        if crc32(memoryview(dump)[_DUMP_START:]) != checksum:
            raise ObjectError("the BTF index is damaged: its checksum differs")
        if fingerprint != blob.fingerprint or first != (len(base) if base else 1):
            raise ObjectError("the BTF index was made of another BTF")
        middle = _DUMP.size + 4 * count
        starts = memoryview(dump)[_DUMP.size : middle].cast("I")
        return cls(blob, starts, dump[middle:], base)

    def dump(self) -> bytes:
        """Return the index without the types, for `load`: 8 bytes a type."""
        count = len(self._starts)
        head = _DUMP.pack(b"", 0, self._blob.fingerprint, self._first, count)
        body = head[_DUMP_START:] + self._starts.tobytes() + self._name_offsets
        return _DUMP_MAGIC + _WORD.pack(crc32(body)) + body

    def __len__(self) -> int:
        """Return the number of ids, void's 0 and those of the base included."""
        return self._first + len(self._starts)

    @property
    def string_end(self) -> int:
        """The length of the string section, that of the base included."""
        return self._strings_base + len(self._blob.strings)

    def type(self, type_id: int) -> Type | None:
        """Return the type with this id, None for void; the same object every time.

        Raises:
            ObjectError: there is no such id, or its record is damaged.
        """
        known = self._types.get(type_id)
        if known is not None:
            return known
        if type_id == 0:
            return None
        if type_id < self._first and self._base:
            return self._base.type(type_id)
        if not self._first <= type_id < len(self):
            raise ObjectError(
                f"BTF has no type {type_id}: it ends with {len(self) - 1}"
            )
        start = self._starts[type_id - self._first]
        # Not an assignment: threads that ask at once are to get one object.
        return self._types.setdefault(type_id, decode_type(self._source, start))

    def string(self, offset: int) -> str:
        """Return the string at `offset`.

        Raises:
            ObjectError: it is beyond the string section.
        """
        start = offset - self._strings_base
        if start < 0 and self._base:
            return self._base.string(offset)
        strings = self._blob.strings
        end = strings.find(b"\0", start)
        if end < 0:
            raise ObjectError(f"BTF has no string at {offset}")
        self._left -= end - start
        if self._left < 0:
            raise ObjectError("the strings of BTF are used more than is reasonable")
        return strings[start:end].decode(errors="surrogateescape")

    def find(self, name: str, kind: Kind) -> int | None:
        """Return the id of the first type of this name and kind, or None."""
        if self._base and (found := self._base.find(name, kind)) is not None:
            return found
        for offset in self._string_offsets(name):
            for type_id in self._named(offset):
                if self._kind(type_id) == kind:
                    return type_id
        return None

    def flavours(self, name: str, kinds: tuple[Kind, ...]) -> Iterator[int]:
        """Yield the ids of types of these kinds that are named so, or so with a flavour.

        A flavour is what stands behind three underscores, as in "task_struct___old".
        """
        if self._base:
            yield from self._base.flavours(name, kinds)
        for offset in [*self._string_offsets(name), *self._string_offsets(name, "___")]:
            for type_id in self._named(offset):
                if self._kind(type_id) in kinds:
                    yield type_id

    def lookup(self, name: str, kind: _Class[_T]) -> _T | None:
        """Return the type of this name and class (`Struct`, say), or None."""
        found = self.find(name, kind.kind)
        node = None if found is None else self.type(found)
        return node if isinstance(node, kind) else None

    def names(self, kind: Kind) -> Iterator[str]:
        """The names of all types of one kind, for advice: it takes a while."""
        if self._base:
            yield from self._base.names(kind)
        words, strings = self._blob.words, self._blob.strings
        for start in self._starts:
            if words[start + 1] >> 24 & 0x1F == kind:
                offset = words[start] - self._strings_base
                end = strings.index(b"\0", offset)
                yield strings[offset:end].decode(errors="surrogateescape")

    # A name is found without a table of names: its offset by one search through the
    # strings, the types that bear it by one through the offsets of names. Both run at
    # the speed of memmem(3), and the dump stays small and quick to load.
    def _string_offsets(self, name: str, more: str = "\0") -> Iterator[int]:
        if self._base:
            yield from self._base._string_offsets(name, more)
        strings = self._blob.strings
        text = b"\0%b%b" % (name.encode(errors="surrogateescape"), more.encode())
        if strings.startswith(text[1:]):  # in split BTF; elsewhere "" comes first
            yield self._strings_base
        at = strings.find(text)
        while at >= 0:
            yield self._strings_base + at + 1
            at = strings.find(text, at + 1)

    def _named(self, offset: int) -> Iterator[int]:
        word = _WORD.pack(offset)
        at = self._name_offsets.find(word)
        while at >= 0:
            if at % 4 == 0:
                yield self._first + at // 4
            at = self._name_offsets.find(word, at + 1)

    def _kind(self, type_id: int) -> int:
        at = self._starts[type_id - self._first] + 1
        # A kept index may say anything.
        return self._blob.words[at] >> 24 & 0x1F if at < len(self._blob.words) else 0


class _Blob(NamedTuple):
    """The sections of a `.BTF` blob; the words are those of the type section."""

    words: memoryview
    strings: bytes
    fingerprint: int


def _open(data: "ReadableBuffer") -> _Blob:
    view = memoryview(data)
    if len(view) < HEADER.size:
        raise ObjectError("BTF is too short for its header")
    header = _BIG_ENDIAN if view[0] == MAGIC >> 8 else HEADER
    magic, version, _, length, *places = header.unpack_from(view)
    if magic != MAGIC or version != VERSION:
        raise ObjectError("BTF of a version that we know begins with 9f eb 01")
    types, strings = (
        view[length + start : length + start + size]
        for start, size in (places[:2], places[2:])
    )
    if len(types) != places[1] or len(strings) != places[3] or len(types) % 4:
        raise ObjectError("BTF is shorter than its header says")
    if strings and strings[-1] != 0:
        raise ObjectError("the strings of BTF do not end with a NUL")
    fingerprint = crc32(strings[-_ENDS:], crc32(view[:_ENDS], len(view)))
    if header is _BIG_ENDIAN:
        swapped = array("I", types.tobytes())
        swapped.byteswap()
        return _Blob(memoryview(swapped), bytes(strings), fingerprint)
    return _Blob(types.cast("I"), bytes(strings), fingerprint)


def _scan(words: "memoryview[int]") -> "array[int]":
    # A list: reading a word of it takes a third of the time that a memoryview takes.
    content = words.tolist()
    starts: array[int] = array("I")
    at, end = 0, len(content)
    try:
        while at < end:
            info = content[at + 1]
            kind = info >> 24 & 0x1F
            starts.append(at)
            at += LENGTH[kind] + PER_PART[kind] * (info & 0xFFFF)
    except IndexError:
        if at + 1 < end:
            message = f"BTF has no kind {content[at + 1] >> 24 & 0x1F}"
            raise ObjectError(message) from None
    if at != end:
        raise ObjectError("BTF ends in the middle of a type")
    return starts


def decode(data: "ReadableBuffer", base: Index | None = None) -> Index:
    """Return an Index over `data` with every type decoded and every reference checked.

    Raises:
        ObjectError: anything in it is not what the format says.
    """
    index = Index.build(data, base)
    ended: set[Type] = set()
    for type_id in range(len(base) if base else 1, len(index)):
        node = index.type(type_id)
        if node is not None:
            node.references()
            _check_end(node, ended)
    return index


def _check_end(node: Type, ended: set[Type]) -> None:
    """Follow typedefs, qualifiers and elements, which must lead to something else."""
    path: list[Type] = []
    at: Type | None = node
    while at is not None and at not in ended:
        ended.add(at)
        path.append(at)
        if isinstance(at, Ptr) or not isinstance(at, Reference | Array | Var):
            return
        at = at.references()[0]
    if at in path:
        raise ObjectError(f"{node!r} refers to itself without a pointer between")
