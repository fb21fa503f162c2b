"""Types -> BTF: gives out type ids and string offsets, and writes the `.BTF` blob."""

import struct

from beewire.bpf.btf.encoding import record
from beewire.bpf.btf.structure import matches
from beewire.bpf.btf.types import Composite, Type
from beewire.errors import EncodingError

MAGIC = 0xEB9F
VERSION = 1
# struct btf_header: magic, version, flags, hdr_len, then offset and length of the types
# and of the strings
HEADER = struct.Struct("<HBBIIIII")

# BTF_MAX_TYPE and BTF_MAX_NAME_OFFSET: the kernel refuses what is beyond.
_MAX_TYPES = 0xFFFFF
_MAX_STRINGS = 0xFFFFFF


class Strings:
    """A string table: each distinct string once, NUL-terminated; offset 0 is ""."""

    __slots__ = ("_content", "_offsets")

    def __init__(self) -> None:
        self._content = bytearray(1)
        self._offsets = {"": 0}

    def add(self, text: str) -> int:
        """Return the offset of `text`, adding it when it is new.

        Raises:
            EncodingError: `text` contains a NUL or half a surrogate pair, or the table
                is full.
        """
        offset = self._offsets.get(text)
        if offset is None:
            if "\0" in text:
                raise EncodingError(f"a NUL in the string {text!r}")
            try:
                encoded = text.encode(errors="surrogateescape")
            except UnicodeEncodeError as error:
                raise EncodingError(f"the string {text!r}: {error.reason}") from None
            offset = self._offsets[text] = len(self._content)
            if offset > _MAX_STRINGS:
                raise EncodingError("more than 16 MiB of strings in one BTF")
            self._content += encoded + b"\0"
        return offset

    def encode(self) -> bytes:
        """Return the table as it stands in a file."""
        return bytes(self._content)


class Builder:
    """Collects types; structurally equal ones get one id, recursive ones included.

        builder = Builder()
        builder.add(Struct("pair", 8, (Member("a", u32, 0), Member("b", u32, 32))))  # 2
        blob = builder.encode()

    Types must not change once they are added.
    """

    __slots__ = ("_by_key", "_ids", "_known", "_open", "_order", "_placing", "_strings")

    def __init__(self) -> None:
        self._strings = Strings()
        self._order: list[Type] = []
        self._ids: dict[Type, int] = {}  # of the types in _order
        self._known: dict[Type, Type] = {}  # any type met -> its equal in _order
        self._by_key: dict[tuple[object, ...], list[Type]] = {}
        self._open: list[Composite] = []  # in _order, their members not yet
        self._placing: set[Type] = set()  # waiting for what they refer to

    def add(self, node: Type | None) -> int:
        """Return the id of `node`, adding it and all that it refers to; 0 for void.

        Raises:
            EncodingError: the type refers to itself, and not through a struct or union;
                the builder is then of no more use.
        """
        if node is None:
            return 0
        if node not in self._known:
            try:
                self._place(node)
                for composite in self._open:  # grows meanwhile
                    for reference in composite.references():
                        self._place(reference)
            except RecursionError:
                raise EncodingError(f"{node!r} is nested too deeply") from None
            self._open.clear()
        return self.id(node)

    def id(self, node: Type | None) -> int:
        """Return the id of a type that was added; 0 for void."""
        return 0 if node is None else self._ids[self._known[node]]

    def knows(self, node: Type | None) -> bool:
        """Tell whether `node` has an id, be it because another type refers to it."""
        return node is None or node in self._known

    def string(self, text: str) -> int:
        """Return the offset of `text` in the string section, adding it when new."""
        return self._strings.add(text)

    def encode(self) -> bytes:
        """Return header, types and strings: the `.BTF` section, or what BTF_LOAD takes.

        Raises:
            EncodingError: a value that does not fit its field.
        """
        types = b"".join([record(node, self.id, self.string) for node in self._order])
        strings = self._strings.encode()
        length = len(types)
        header = HEADER.pack(
            MAGIC, VERSION, 0, HEADER.size, 0, length, length, len(strings)
        )
        return header + types + strings

    # A struct takes its id before its members are placed: they may refer to it. All
    # else is placed after what it refers to, so that equal types have equal keys.
    def _place(self, node: Type | None) -> None:
        if node is None or node in self._known:
            return
        if isinstance(node, Composite):
            self._place_composite(node)
            return
        # BTF has no other cycle: the kernel refuses a typedef of itself.
        if node in self._placing:
            raise EncodingError(f"{node!r} refers to itself without a struct between")
        self._placing.add(node)
        for reference in node.references():
            self._place(reference)
        self._placing.discard(node)
        references = tuple([self.id(reference) for reference in node.references()])
        equals = self._by_key.setdefault((node.kind, node.facts(), references), [])
        if equals:
            self._known[node] = equals[0]
        else:
            equals.append(node)
            self._append(node)

    def _place_composite(self, composite: Composite) -> None:
        equals = self._by_key.setdefault((composite.kind, composite.facts()), [])
        for candidate in equals:
            pairs = matches(composite, candidate, self._known)
            if pairs is not None:
                for new, old in pairs:
                    if new not in self._known and old in self._known:
                        self._known[new] = self._known[old]
                return
        equals.append(composite)
        self._append(composite)
        self._open.append(composite)

    def _append(self, node: Type) -> None:
        self._order.append(node)
        self._ids[node] = len(self._order)
        self._known[node] = node
        if len(self._order) > _MAX_TYPES:
            raise EncodingError("more than 1048575 types in one BTF")
