"""What a process has mapped, by /proc/PID/maps."""

from bisect import bisect_right

from beewire.hints import Iterable, Iterator
from beewire.rows import Row

_DELETED = " (deleted)"


class Mapping(Row):
    """A range of addresses that code may run in; `path` is "" for memory of its own.

    `device` is (major, minor). `path` is the process's, as its own root has it.
    """

    start: int
    end: int
    offset: int
    device: tuple[int, int]
    inode: int
    path: str

    @property
    def is_file(self) -> bool:
        """Whether it is of a file."""
        return self.inode != 0 and self.path.startswith("/")


class Mappings:
    """The executable mappings of one process; `find(address)`.

    Later ones take the place of earlier ones, but those stay where nothing is over
    them: samples may be older.
    """

    __slots__ = ("_found", "_sorted", "_starts")

    def __init__(self, found: Iterable[Mapping] = ()) -> None:
        self._found = list(found)
        self._starts: list[int] = []
        self._sorted: list[Mapping] | None = None

    @classmethod
    def read(cls, pid: int) -> "Mappings":
        """Those of a process that lives.

        Raises:
            OSError: it has ended, or may not be looked into.
        """
        path, coding = f"/proc/{pid}/maps", "utf-8"
        with open(path, encoding=coding, errors="surrogateescape") as file:  # noqa: PTH123 - no pathlib here
            return cls(parse(file))

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self._found)

    def add(self, mapping: Mapping) -> None:
        """Note what was mapped now."""
        self._found = [each for each in self._found if not _covers(mapping, each)]
        self._found.append(mapping)
        self._sorted = None

    def update(self, others: "Mappings") -> None:
        """Note all of `others`."""
        known = set(self._found)
        for mapping in others:
            if mapping not in known:
                self.add(mapping)

    def find(self, address: int) -> Mapping | None:
        """The mapping that `address` lies in."""
        if self._sorted is None:
            # Of those that overlap, the later one is looked at first.
            self._sorted = sorted(self._found, key=lambda each: each.start)
            self._starts = [each.start for each in self._sorted]
        at = bisect_right(self._starts, address)
        while at:
            at -= 1
            if address < self._sorted[at].end:
                return self._sorted[at]
        return None


def _covers(new: Mapping, old: Mapping) -> bool:
    return new.start <= old.start and old.end <= new.end


def parse(lines: Iterable[str]) -> list[Mapping]:
    """The executable mappings among lines of /proc/PID/maps."""
    found = []
    for line in lines:
        # start-end perms offset major:minor inode   path
        fields = line.rstrip("\n").split(None, 5)
        if len(fields) < 5 or "x" not in fields[1]:
            continue
        start, _, end = fields[0].partition("-")
        major, _, minor = fields[3].partition(":")
        path = fields[5] if len(fields) > 5 else ""
        found.append(
            Mapping(
                int(start, 16),
                int(end, 16),
                int(fields[2], 16),
                (int(major, 16), int(minor, 16)),
                int(fields[4]),
                # The kernel writes a newline in a name so, and nothing else.
                path.removesuffix(_DELETED).replace("\\012", "\n"),
            )
        )
    return found
