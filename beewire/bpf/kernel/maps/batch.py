"""The batch commands: many entries by one system call (Linux 5.6).

Which kinds of map have them differs from kernel to kernel; it is asked once for each.
"""

import errno

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.explain import ENOTSUPP
from beewire.bpf.kernel.maps.shape import Chunk, Shape, refusal
from beewire.bpf.kernel.syscall import Cmd
from beewire.bpf.object import MapKind

# Cursors of these are bucket numbers, and a bucket is read under its lock: whatever
# others write, a walk goes forward. Those of all others are keys.
BUCKETS = frozenset({
    MapKind.HASH,
    MapKind.LRU_HASH,
    MapKind.PERCPU_HASH,
    MapKind.LRU_PERCPU_HASH,
    MapKind.HASH_OF_MAPS,
})  # fmt: skip

# Of these, whose keys are indices, every one has a next, whether or not there is an entry.
INDEXED = frozenset({
    MapKind.ARRAY,
    MapKind.PERCPU_ARRAY,
    MapKind.PROG_ARRAY,
    MapKind.PERF_EVENT_ARRAY,
    MapKind.CGROUP_ARRAY,
    MapKind.ARRAY_OF_MAPS,
    MapKind.DEVMAP,
    MapKind.CPUMAP,
    MapKind.XSKMAP,
    MapKind.SOCKMAP,
    MapKind.REUSEPORT_SOCKARRAY,
    MapKind.INSN_ARRAY,
})  # fmt: skip

_BUCKET = 8  # bytes of a bucket number at most
# As much as stays in a CPU's cache until it is decoded.
BYTES = 1 << 18
_ABSENT = (-errno.EINVAL, -errno.ENOSYS, -errno.EOPNOTSUPP, -ENOTSUPP, -errno.EFAULT)

_known: dict[tuple[MapKind, Cmd], bool] = {}


def supported(shape: Shape, command: Cmd) -> bool:
    """Whether this kernel has `command` for maps of this kind, by a batch of nothing."""
    if not shape.batched:
        return False
    asked = shape.kind, command
    if asked not in _known:
        record = attr.MAP_BATCH.pack(map_fd=shape.fd)
        result = syscall.try_bpf(command, record)
        if result < 0 and result not in _ABSENT:
            return True  # something about this one map, which the call itself will say
        _known[asked] = result >= 0
    return _known[asked]


def paced(count: int, most: int, *, steady: bool) -> int:
    """How many entries to read at a time, after so many."""
    return min(2 * count, most) if steady else max(count // 4, min(16, most))


class BatchReader:
    """Reads a map from its beginning, a batch at a time.

    With BPF_MAP_LOOKUP_AND_DELETE_BATCH what is read is deleted in the same step.
    """

    def __init__(self, shape: Shape, command: Cmd = Cmd.MAP_LOOKUP_BATCH) -> None:
        self.shape = shape
        self.stuck = False
        self.known: set[int | bytes] = set()  # to a reader of keys only
        self._command = command
        # A bucket number or a key; the kernel reads it first and writes it last.
        self._cursor = bytearray(max(shape.key_size, _BUCKET))
        self._started = False
        self._ended = False
        self._make_room(BYTES // (shape.key_size + shape.value_size) or 1)

    def _make_room(self, count: int) -> None:
        self._most = self._count = min(count, max(self.shape.max_entries, 1))
        self._keys = bytearray(self.shape.key_size * self._count)
        self._values = bytearray(self.shape.value_size * self._count)

    @property
    def cursor(self) -> bytes | None:
        """The key after which the next batch begins; None at the beginning and end."""
        if self._ended or not self._started:
            return None
        return bytes(self._cursor[: self.shape.key_size])

    def seek(self, key: bytes | None) -> None:
        """Go on after `key`, or begin anew: where cursors are keys."""
        self._started, self._ended = key is not None, False
        if key is not None:
            self._cursor[: len(key)] = key

    def pace(self, *, steady: bool) -> None:
        """Read more at a time, or less: what comes after a key that is lost is wasted."""
        self._count = paced(self._count, self._most, steady=steady)

    def read(self) -> Chunk | None:
        """The next batch, valid until the one after it; None at the end.

        It may be empty. `stuck`: the kernel came upon an entry that is not there, and
        would do so again.

        Raises:
            KernelError: the kernel refuses.
        """
        if self._ended:
            return None
        result, count = self._call()
        # One bucket holds more than the buffers: only whole buckets are handed out.
        while result == -errno.ENOSPC and self._count < self.shape.max_entries:
            self._make_room(self._count * 4)
            result, count = self._call()
        if result not in (0, -errno.ENOENT, -errno.EINTR):
            raise refusal(-result, self._command.name, self.shape)
        self._ended = result == -errno.ENOENT
        self._started = self._started or count > 0 or result == 0
        self.stuck = result == -errno.EINTR
        keys, values = memoryview(self._keys), memoryview(self._values)
        size, width = self.shape.key_size, self.shape.value_size
        return keys[: count * size], values[: count * width], count

    def _call(self) -> tuple[int, int]:
        cursor = syscall.address(self._cursor)
        record = attr.MAP_BATCH.pack(
            in_batch=cursor if self._started else 0,
            out_batch=cursor,
            keys=syscall.address(self._keys),
            values=syscall.address(self._values),
            count=self._count,
            map_fd=self.shape.fd,
            elem_flags=self.shape.flags,
        )
        # Not by `try_bpf`: EINTR is no signal here, and would be the answer for ever.
        result = syscall.prepared(self._command, record)()
        if result < 0:
            result = -syscall.last_errno()
        return result, attr.MAP_BATCH.integer(record, "count")


def write(shape: Shape, command: Cmd, keys: bytearray, values: bytearray) -> int:
    """Store or delete all of `keys`: 0, or -errno at the first that is refused.

    What was done until then is cut off `keys` and `values`.
    """
    count = len(keys) // shape.key_size
    record = attr.MAP_BATCH.pack(
        keys=syscall.address(keys),
        values=syscall.address(values),
        count=count,
        map_fd=shape.fd,
        elem_flags=shape.flags if command == Cmd.MAP_UPDATE_BATCH else 0,
    )
    result = syscall.try_bpf(command, record)
    done = count if result == 0 else attr.MAP_BATCH.integer(record, "count")
    del keys[: done * shape.key_size], values[: done * shape.value_size]
    return result
