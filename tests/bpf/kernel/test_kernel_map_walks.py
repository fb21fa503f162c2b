"""Reading and writing many entries: by batches, key by key, while programs write."""

import ctypes
import errno
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from beewire.bpf import (
    HashMap,
    Loaded,
    LpmTrie,
    LruHash,
    Struct,
    XdpAction,
    XdpContext,
    features,
    load,
    u8,
    u32,
    u64,
    xdp,
)
from beewire.bpf import array as array_of
from beewire.bpf.btf import Array, Int, Member
from beewire.bpf.btf import Struct as StructBtf
from beewire.bpf.kernel import Loaded as LoadedSpec
from beewire.bpf.kernel import Map, MapCodec
from beewire.bpf.kernel.maps import PerCpu, batch, walk
from beewire.bpf.kernel.maps.shape import Shape
from beewire.bpf.kernel.syscall import Cmd, System
from beewire.bpf.lang.helpers import get_prandom_u32
from beewire.bpf.object import MapKind, MapSpec, ObjectSpec
from beewire.errors import KernelError, MapError, NotSupported
from tests.systems import BPF, using

pytestmark = pytest.mark.kernel

U32 = Int("unsigned int", 4)
U64 = Int("unsigned long", 8)
PREFIX = StructBtf(
    "prefix",
    8,
    (Member("bits", U32, 0), Member("at", Array(Int("unsigned char", 1), 4), 32)),
)
STEADY = 2_000
FRAME = bytes(64)

MakeMap = Callable[..., "Map[int, int]"]


@pytest.fixture
def make_map(
    make_object: Callable[..., ObjectSpec], load_now: Callable[..., LoadedSpec]
) -> MakeMap:
    def make(kind: MapKind, max_entries: int = 4096, **fields: object) -> Map[int, int]:
        sizes = {"key_size": 4, "value_size": 8, "key": U32, "value": U64, **fields}
        if not features.map_type(kind):
            pytest.skip(f"this kernel has no {kind.name} maps")
        spec = MapSpec("m", kind=kind, max_entries=max_entries, **sizes)  # type: ignore[arg-type] # passed on as given
        return load_now(make_object(spec)).maps["m"]

    return make


HASHES = [MapKind.HASH, MapKind.LRU_HASH, MapKind.RHASH]
BOTH = pytest.mark.parametrize("batched", [True, False], ids=["batches", "by key"])


@pytest.mark.thorough
@BOTH
@pytest.mark.parametrize("kind", [MapKind.HASH, MapKind.RHASH, MapKind.ARRAY])
def test_all_ways_of_reading_agree(
    make_map: MakeMap, kind: MapKind, *, batched: bool
) -> None:
    m = make_map(kind)
    wanted = {key: 3 * key for key in range(4096)}
    m.batched = batched

    m.update(wanted)

    assert m.to_dict() == dict(m.items()) == wanted
    assert sorted(m) == list(wanted)
    assert sorted(m.values()) == list(wanted.values())
    assert len(m) == 4096


@BOTH
@pytest.mark.parametrize(
    "kind", [MapKind.PERCPU_HASH, MapKind.LRU_PERCPU_HASH, MapKind.PERCPU_ARRAY]
)
@pytest.mark.parametrize("size", [4, 8])
def test_values_of_every_cpu_agree_too(
    make_map: Callable[..., Map[int, PerCpu[int]]],
    kind: MapKind,
    size: int,
    *,
    batched: bool,
) -> None:
    m = make_map(kind, 128, value_size=size, value=U32 if size == 4 else U64)
    m.batched = batched

    m.update([(key, key) for key in range(100)])  # type: ignore[misc]  # one for all CPUs

    assert m[7].sum() == 7 * len(m[7])
    found = m.to_dict()
    assert isinstance(found[7], PerCpu)
    assert [found[key].max() for key in range(100)] == list(range(100))


@BOTH
@pytest.mark.parametrize("kind", HASHES)
def test_a_hash_is_cleared(make_map: MakeMap, kind: MapKind, *, batched: bool) -> None:
    m = make_map(kind)
    m.update({key: key for key in range(3000)})
    m.batched = batched

    m.clear()

    assert m.to_dict() == {}


@BOTH
def test_a_hash_is_drained(make_map: MakeMap, *, batched: bool) -> None:
    m = make_map(MapKind.HASH)
    m.update({key: key for key in range(3000)})
    m.batched = batched

    try:
        taken = m.drain()
    except NotSupported:
        pytest.skip("this kernel takes no single entries out of a hash")

    assert taken == {key: key for key in range(3000)}
    assert len(m) == 0


@BOTH
def test_a_trie_is_read_and_cleared(
    make_map: Callable[..., Map[bytes, int]], *, batched: bool
) -> None:
    m = make_map(MapKind.LPM_TRIE, key_size=8, key=PREFIX)
    keys = [struct.pack("=I", 32) + struct.pack(">I", n) for n in range(3000)]
    m.batched = batched

    m.update({key: n for n, key in enumerate(keys)})

    assert set(m.to_dict().values()) == set(range(3000))
    m.clear()
    assert len(m) == 0


@BOTH
def test_what_is_too_much_is_named(make_map: MakeMap, *, batched: bool) -> None:
    m = make_map(MapKind.HASH, 10)
    m.batched = batched

    with pytest.raises(MapError, match="map 'm' is full: it holds at most 10 entries"):
        m.update({key: key for key in range(12)})
    assert len(m) == 10


@BOTH
def test_the_key_that_is_refused_is_named(make_map: MakeMap, *, batched: bool) -> None:
    m = make_map(MapKind.ARRAY, 10)
    m.batched = batched

    with pytest.raises(MapError, match="has the keys 0 to 9; 77 is none of them"):
        m.update([(1, 5), (2, 6), (77, 7), (3, 8)])
    assert m.to_dict() == {0: 0, 1: 5, 2: 6, **dict.fromkeys(range(3, 10), 0)}


def test_buffers_grow_until_a_bucket_fits(
    make_map: MakeMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    m = make_map(MapKind.HASH, 4096)
    wanted = {key: key for key in range(4096)}
    m.update(wanted)
    # Room for one entry: many buckets hold two or more.
    monkeypatch.setattr(batch, "BYTES", 12)

    assert m.to_dict() == wanted


def test_what_a_kind_has_is_asked_once(
    make_map: MakeMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: dict[tuple[MapKind, Cmd], bool] = {}
    monkeypatch.setattr(batch, "_known", known)
    m = make_map(MapKind.HASH)
    stacks = make_map(MapKind.STACK_TRACE, value=None)

    m.to_dict()
    stacks.to_dict()

    assert known == {
        (MapKind.HASH, Cmd.MAP_LOOKUP_BATCH): True,
        (MapKind.STACK_TRACE, Cmd.MAP_LOOKUP_BATCH): False,
    }


def test_keys_of_odd_sizes_are_walked(
    make_map: Callable[..., Map[bytes, int]],
) -> None:
    m = make_map(MapKind.HASH, key_size=7, key=None)
    wanted = {n.to_bytes(7, "big"): n for n in range(2500)}
    m.update(wanted)
    m.batched = False

    assert m.to_dict() == wanted


def test_a_codec_without_rows_is_used_for_each(
    make_map: MakeMap,
) -> None:
    m = make_map(MapKind.HASH)
    plain = m.codec
    m.codec = MapCodec(*plain[:4])

    m.update({key: key for key in range(100)})

    assert m.to_dict() == {key: key for key in range(100)}


# While programs write.

table = HashMap[u32, u64](max_entries=3 * STEADY)
recent = LruHash[u32, u64](max_entries=3 * STEADY)


class Prefix(Struct):
    bits: u32
    address: bytes = array_of(u8, 4)


routes = LpmTrie[Prefix, u64](max_entries=3 * STEADY)


@xdp
def churn(ctx: XdpContext) -> XdpAction:  # noqa: ARG001 - a program has one
    """Adds and deletes keys above those that stay."""
    key = STEADY + get_prandom_u32() % STEADY
    table[key] = 1
    recent[key] = 1
    gone = STEADY + get_prandom_u32() % STEADY
    if gone in table:
        del table[gone]
    if gone in recent:
        del recent[gone]
    return XdpAction.PASS


@contextmanager
def running(loaded: Loaded) -> Iterator[None]:
    """The program runs all the time, on another CPU where there is one."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            loaded.programs["churn"].live.test_run(FRAME, repeat=20)

    writer = threading.Thread(target=run)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


@pytest.mark.thorough
@BOTH
@pytest.mark.parametrize("name", ["table", "recent"])
def test_what_stays_is_found_once_while_a_program_writes(
    name: str, *, batched: bool
) -> None:
    with load(churn) as loaded:
        live = loaded.maps[name]
        live.update({key: key for key in range(STEADY)})
        live.batched = batched
        with running(loaded):
            walks = [list(live.items()) for _ in range(10)]

    for found in walks:
        keys = [key for key, _ in found]
        assert len(keys) == len(set(keys))
        assert set(range(STEADY)) <= set(keys)


@pytest.mark.thorough
@BOTH
def test_what_stays_in_a_trie_is_found_while_others_write(
    make_map: Callable[..., Map[bytes, int]], *, batched: bool
) -> None:
    m = make_map(MapKind.LPM_TRIE, 3 * STEADY, key_size=8, key=PREFIX)
    keys = [struct.pack("=I", 32) + struct.pack(">I", n) for n in range(2 * STEADY)]
    m.update(dict.fromkeys(keys[::2], 1))
    m.batched = batched
    stop = threading.Event()

    def write() -> None:
        passing = keys[1::2]
        while not stop.is_set():
            for key in passing:
                m[key] = 2
            for key in passing:
                del m[key]

    writer = threading.Thread(target=write)
    writer.start()
    try:
        walks = [list(m) for _ in range(5)]
    finally:
        stop.set()
        writer.join()

    for found in walks:
        assert len(found) == len(set(found))
        assert set(keys[::2]) <= set(found)


def test_a_drain_loses_nothing() -> None:
    with load(churn) as loaded:
        live = loaded.maps["table"]
        live.update({key: key for key in range(STEADY)})
        with running(loaded):
            taken = [live.drain() for _ in range(20)]

    assert {key for key in taken[0] if key < STEADY} == set(range(STEADY))
    assert not [key for rest in taken[1:] for key in rest if key < STEADY]


class Restarting:
    """A reader whose place is always deleted: it comes upon the same keys for ever."""

    stuck = False
    cursor = None
    known: set[int | bytes] = set()  # noqa: RUF012 - it is replaced, not changed

    def __init__(self) -> None:
        self.reads = 0

    def seek(self, key: bytes | None) -> None:
        assert key is None or key == b"\3\0\0\0"

    def pace(self, *, steady: bool) -> None:
        assert steady in (True, False)

    def read(self) -> tuple[memoryview, memoryview, int]:
        self.reads += 1
        keys = struct.pack("=4I", 1, 2, 3, 1)
        return memoryview(keys), memoryview(bytes(32)), 4


def test_a_walk_that_would_never_end_says_so(make_map: MakeMap) -> None:
    m = make_map(MapKind.HASH, 16)
    shape = Shape(m.fd, "m", MapKind.HASH, 4, 8, 16)
    reader = Restarting()
    found = []

    with pytest.raises(MapError, match="map 'm' changes faster than it can be read"):
        found += [count for _, _, count in walk._once(shape, reader)]  # type: ignore[arg-type] # acts as one
    assert reader.reads < 2000


class Older(System):
    """The kernel, answering batch commands as older ones do for some kinds of map."""

    def __init__(self, number: int, *, empty: int | None = None) -> None:
        self.number = number
        self.empty = number if empty is None else empty
        self.asked: list[str] = []

    def call(self, number: int, *arguments: int) -> int:
        if number != BPF or not Cmd(arguments[0]).name.endswith("_BATCH"):
            return super().call(number, *arguments)
        self.asked.append(Cmd(arguments[0]).name)
        # The count of the record: a batch of nothing is the question whether there are any.
        count = ctypes.c_uint32.from_address(arguments[1] + 32)
        answer = self.number if count.value else self.empty
        count.value = 0
        return -answer


ENOTSUPP = 524


@pytest.mark.parametrize(
    "number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EFAULT, ENOTSUPP]
)
def test_without_batches_everything_goes_one_by_one(
    make_map: MakeMap, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_known", {})
    m = make_map(MapKind.HASH)
    older = Older(number)

    with using(older):
        m.update({key: key for key in range(100)})
        found = [m.to_dict(), dict(m.items())]
        m.clear()

    assert found == [{key: key for key in range(100)}] * 2
    assert len(m) == 0
    # Each command is asked for once.
    assert len(older.asked) == len(set(older.asked)) == 4


def test_a_batch_that_comes_upon_nothing_is_not_asked_for_ever(
    make_map: Callable[..., Map[bytes, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_known", {})
    m = make_map(MapKind.LPM_TRIE, key_size=8, key=PREFIX)
    m[struct.pack("=I4x", 8)] = 1
    # What Linux before 6.14 says when an entry is deleted under its hands.
    older = Older(errno.EINTR, empty=0)

    with using(older):
        found = m.to_dict()

    assert found == {struct.pack("=I4x", 8): 1}
    assert older.asked == ["MAP_LOOKUP_BATCH"] * 2


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOMEM])
def test_other_refusals_of_batches_are_told(make_map: MakeMap, number: int) -> None:
    m = make_map(MapKind.HASH)
    m.update({1: 1, 2: 2})

    with using(Older(number, empty=0)), pytest.raises(KernelError) as caught:
        m.to_dict()
    assert caught.value.errno == number
