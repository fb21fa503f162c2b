"""Records on their way from shared memory to their reader.

Programs send records of one type mostly, so that they lie in memory at equal distances. A
Run is such a stretch: its headers are compared at once, and its records decoded at C
speed. What is of several sizes, or has gaps, becomes Pieces.

A record is decoded in two steps: into a `raw` (what struct.unpack gives; bytes where
nothing is known of the type), of that into an object or a row.
"""

from beewire.errors import MapError
from beewire.hints import TYPE_CHECKING, Any, Callable, Generic, Iterator, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")


class Run:
    """`count` records of `size` bytes, each `stride` bytes after the one before it.

    `prefix` bytes of header precede every record; the first header is at the start of
    `view`, which ends with the last record's padding.
    """

    __slots__ = ("count", "prefix", "size", "stride", "view")

    def __init__(
        self, view: memoryview, prefix: int, size: int, stride: int, count: int
    ) -> None:
        self.view = view
        self.prefix = prefix
        self.size = size
        self.stride = stride
        self.count = count

    def copy(self) -> "Run":
        """The same records in memory of their own."""
        view = memoryview(bytes(self.view))
        return Run(view, self.prefix, self.size, self.stride, self.count)

    def pieces(self) -> list[bytes]:
        """The bytes of each record."""
        view, first, size = self.view, self.prefix, self.size
        ends = range(first, self.count * self.stride, self.stride)
        return [bytes(view[at : at + size]) for at in ends]


class Pieces:
    """Records of several sizes, each copied already."""

    __slots__ = ("_pieces",)

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    @property
    def count(self) -> int:
        """How many records."""
        return len(self._pieces)

    def copy(self) -> "Pieces":
        """Itself: they are copies."""
        return self

    def pieces(self) -> list[bytes]:
        """The bytes of each record."""
        return self._pieces


class Decoding(Generic[T]):
    """What becomes of the bytes of a record; as it stands, whatever `decode` makes."""

    __slots__ = ("_decode",)

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        self._decode = decode

    def raws(self, run: Run | Pieces) -> Iterator[Any]:
        """The raws of a run; the iterator tells how many are left (length_hint)."""
        return iter(run.pieces())

    def records(self, raws: Iterator[Any]) -> Iterator[T]:
        """What iteration gives: each record is decoded when it is asked for."""
        return map(self._decode, raws)

    def rows(self, raws: Iterator[Any]) -> list[Any]:
        """What `read_batch()` gives."""
        return list(self.records(raws))

    def block(self, run: Run | Pieces) -> "NDArray[Any]":  # noqa: ARG002 - of no run
        """The bytes of a run's records, one item each, for `joined`.

        Raises:
            MapError: Nothing is known of their type.
        """
        raise MapError(
            "nothing is known of the fields of these records, which numpy needs: read "
            "the ring by its declaration, as RingBuf[Event], or without numpy=True"
        )

    def block_of(self, raws: Iterator[Any]) -> "NDArray[Any]":
        """As `block`, of records that were unpacked already.

        Raises:
            MapError: Nothing is known of their type.
        """
        return self.block(Pieces(list(raws)))

    def joined(self, blocks: "list[NDArray[Any]]") -> "NDArray[Any]":
        """One array of all, with the fields of the records.

        Raises:
            MapError: Nothing is known of their type.
        """
        del blocks
        return self.block(Pieces([]))
