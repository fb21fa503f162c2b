"""Records of a declared type on their way to user space, many at a time.

What is done for each record is a line of Python made for its type, as namedtuple makes
its classes: unpacked values go into the attributes of an object, or into a tuple, without
a loop over the fields.
"""

import struct

from beewire.bpf.kernel.maps.arrays import dtype, imported
from beewire.bpf.kernel.runs import Decoding, Pieces, Run
from beewire.bpf.lang.btf_types import to_btf
from beewire.bpf.lang.structs import StructType
from beewire.bpf.lang.types import (
    U8,
    ArrayType,
    CharsType,
    IntType,
    ObjectType,
    ValueType,
    swap,
)
from beewire.errors import DecodingError, SpecError
from beewire.hints import TYPE_CHECKING, Any, Callable, Iterator

if TYPE_CHECKING:
    from numpy.typing import NDArray

INSTEAD = "leave numpy=True out"
# Names of processes, paths: the same ones come again and again.
_TEXTS = 1024
# Of more values no function is written: a loop is as fast.
_MOST = 512


class Texts(dict[bytes, str]):
    """Texts by their bytes; remembers some of those that it decoded."""

    __slots__ = ()

    def __missing__(self, raw: bytes) -> str:
        text = raw.split(b"\0", 1)[0].decode("utf-8", "replace")
        if len(self) < _TEXTS:
            self[raw] = text
        return text


def decoding(type_: ValueType | None) -> Decoding[Any]:
    """How records of a declared type are decoded.

    Raises:
        SpecError: The buffer was declared without one.
    """
    if type_ is None:
        raise SpecError("the type of the records is missing: write RingBuf[Event](...)")
    return TypedDecoding(type_)


class TypedDecoding(Decoding[Any]):
    """Records of a declared type: objects, tuples of their fields, numpy arrays."""

    __slots__ = ("_codec", "_dtype", "_records", "_rows", "_type", "_unpackers")

    def __init__(self, type_: ValueType) -> None:
        self._type = type_
        self._codec = struct.Struct(f"={type_.format}")
        self._unpackers: dict[tuple[int, int], struct.Struct] = {}
        self._dtype: Any = None
        self._records, self._rows = Maker(type_).functions()

    def raws(self, run: Run | Pieces) -> Iterator[Any]:
        """The unpacked values of each record.

        Raises:
            DecodingError: A record is shorter than the type.
        """
        size = self._type.size
        if isinstance(run, Pieces) or run.size < size:
            return iter([self._unpack(piece) for piece in run.pieces()])
        place = run.prefix, run.stride
        unpacker = self._unpackers.get(place)
        if unpacker is None:
            rest = run.stride - run.prefix - size
            unpacker = struct.Struct(f"={run.prefix}x{self._type.format}{rest}x")
            self._unpackers[place] = unpacker
        return unpacker.iter_unpack(run.view)

    def _unpack(self, piece: bytes) -> tuple[Any, ...]:
        if len(piece) < self._type.size:
            raise DecodingError(
                f"a record of {len(piece)} bytes: {self._type.name} takes "
                f"{self._type.size}"
            )
        return self._codec.unpack_from(piece)

    def records(self, raws: Iterator[Any]) -> Iterator[Any]:
        """The objects, one by one."""
        return self._records(raws)

    def rows(self, raws: Iterator[Any]) -> list[Any]:
        """Tuples of the fields; the values themselves where records are no structs."""
        return self._rows(raws)

    def block(self, run: Run | Pieces) -> "NDArray[Any]":
        """The bytes of a run's records."""
        size = self._type.size
        if isinstance(run, Pieces) or run.size < size:
            return self.block_of(self.raws(run))
        # Numpy copies items without fields five times as fast as those with some.
        seen: NDArray[Any] = imported(INSTEAD).ndarray(
            run.count, f"V{size}", run.view, run.prefix, (run.stride,)
        )
        return seen.copy()

    def block_of(self, raws: Iterator[Any]) -> "NDArray[Any]":
        """The bytes of records that were unpacked already."""
        content = b"".join([self._codec.pack(*raw) for raw in raws])
        # A copy, for what lies in bytes cannot be changed.
        found: NDArray[Any] = imported(INSTEAD).frombuffer(
            content, f"V{self._type.size}"
        )
        return found.copy()

    def joined(self, blocks: "list[NDArray[Any]]") -> "NDArray[Any]":
        """A structured array of the records."""
        np = imported(INSTEAD)
        if self._dtype is None:
            self._dtype = dtype(to_btf(self._type), self._type.size)
        joined: NDArray[Any] = np.empty(0, self._dtype)
        if blocks:
            joined = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return joined.view(self._dtype)


Functions = tuple[
    Callable[[Iterator[Any]], Iterator[Any]], Callable[[Iterator[Any]], list[Any]]
]


class Maker:
    """Writes the two functions that decode values of one type.

    def records(raws):
        for a, b in raws:
            r = new(Event); r.pid = a; r.comm = texts[b]
            yield r

    def rows(raws):
        return [(a, texts[b]) for a, b in raws]
    """

    def __init__(self, type_: ValueType) -> None:
        self._type = type_
        self._count = 0
        # What the functions find by name: classes, enums, functions.
        self._scope: dict[str, Any] = {"texts": Texts(), "new": object.__new__}
        self._makers: dict[StructType, str] = {}
        self._source: list[str] = []

    def functions(self) -> Functions:
        """`records` and `rows`."""
        if _items(self._type) > _MOST:
            return self._by_loop()
        row = self._expression(self._type, as_rows=True)
        targets = "".join([f"v{n}, " for n in range(self._count)])
        self._source += ["def rows(raws):", f"    return [{row} for {targets}in raws]"]
        self._count = 0
        self._source += [
            "def records(raws):",
            f"    for {targets}in raws:",
            *[f"        {line}" for line in self._record()],
        ]
        exec("\n".join(self._source), self._scope)
        return self._scope["records"], self._scope["rows"]

    def _by_loop(self) -> Functions:
        """The same for types of very many values, field by field."""
        type_ = self._type

        def records(raws: Iterator[Any]) -> Iterator[Any]:
            for raw in raws:
                yield type_.take(iter(raw))

        def rows(raws: Iterator[Any]) -> list[Any]:
            found = list(records(raws))
            if isinstance(type_, StructType):
                return list(map(_row_of(type_), found))
            return found

        return records, rows

    def _record(self) -> list[str]:
        """The lines that yield a record."""
        type_ = self._type
        if not (isinstance(type_, StructType) and type_.plain):
            return [f"yield {self._expression(type_, as_rows=False)}"]
        return [*self._filled(type_), "yield r"]

    def _filled(self, type_: StructType) -> list[str]:
        """The lines that make an object `r` of a struct."""
        fields = type_.fields.items()
        return [
            f"r = new({self._name(type_.python)})",
            *[f"r.{n} = {self._expression(f.type, as_rows=False)}" for n, f in fields],
        ]

    def _expression(self, type_: ValueType, *, as_rows: bool) -> str:
        """What makes a value of the next unpacked ones."""
        if isinstance(type_, StructType):
            return self._struct(type_, as_rows=as_rows)
        if isinstance(type_, ObjectType):
            return "None"
        if isinstance(type_, ArrayType) and type_.element is not U8:
            return self._array(type_, as_rows=as_rows)
        value = self._value()
        if isinstance(type_, CharsType):
            return f"texts[{value}]"
        if isinstance(type_, IntType):
            return self._integer(type_, value)
        return value

    def _integer(self, type_: IntType, value: str) -> str:
        if type_.is_big_endian:
            return f"{self._name(swap)}({value}, {type_.bits})"
        if type_.enum is None:
            return value
        if type_.is_flags:
            return f"{self._name(type_.enum)}({value})"
        # An enum may meet a number that it has no member for.
        members = self._name(type_.enum._value2member_map_)
        return f"{members}.get({value}, {value})"

    def _struct(self, type_: StructType, *, as_rows: bool) -> str:
        if not type_.plain:
            made = f"{self._name(type_.python.from_bytes)}({self._value()})"
            return f"{self._name(_row_of(type_))}({made})" if as_rows else made
        if as_rows:
            return f"({''.join([f'{each}, ' for each in self._columns(type_)])})"
        return self._nested(type_)

    def _columns(self, type_: StructType) -> list[str]:
        """What makes the members of a row; objects of the kernel have no value."""
        return [
            self._expression(each.type, as_rows=True)
            for each in type_.fields.values()
            if not isinstance(each.type, ObjectType)
        ]

    def _nested(self, type_: StructType) -> str:
        """A call of the function that makes the object of a struct in another."""
        made = self._makers.get(type_)
        if made is None:
            before, self._count = self._count, 0
            lines = self._filled(type_)
            arguments = ", ".join([f"v{n}" for n in range(self._count)])
            made = self._makers[type_] = f"make{len(self._makers)}"
            self._source += [f"def {made}({arguments}):"]
            self._source += [f"    {line}" for line in [*lines, "return r"]]
            self._count = before
        values = ", ".join([self._value() for _ in range(_items(type_))])
        return f"{made}({values})"

    def _array(self, type_: ArrayType, *, as_rows: bool) -> str:
        each = [
            self._expression(type_.element, as_rows=as_rows) for _ in range(type_.count)
        ]
        return f"[{', '.join(each)}]"

    def _value(self) -> str:
        """The name of the next unpacked value."""
        self._count += 1
        return f"v{self._count - 1}"

    def _name(self, what: object) -> str:
        """A name that the functions find `what` by."""
        name = f"n{len(self._scope)}"
        self._scope[name] = what
        return name


def _items(type_: ValueType) -> int:
    """How many values struct.unpack gives for a `type_`."""
    if isinstance(type_, StructType) and type_.plain:
        return sum([_items(each.type) for each in type_.fields.values()])
    if isinstance(type_, ArrayType) and type_.element is not U8:
        return type_.count * _items(type_.element)
    return 0 if isinstance(type_, ObjectType) else 1


def _row_of(type_: StructType) -> Callable[[Any], tuple[Any, ...]]:
    """What makes a row of an object, where that is made first."""
    names = tuple(type_.fields)
    return lambda record: tuple([getattr(record, name) for name in names])
