import array
import fcntl
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from beewire.bpf.btf import Array, Int, Member, Struct
from beewire.bpf.kernel import Loaded, Map, MapCodec, possible_cpus
from beewire.bpf.kernel.maps.codec import default_codec
from beewire.bpf.object import MapKind, MapSpec, ObjectSpec
from beewire.errors import EncodingError, KernelError, MapError, NotSupported

pytestmark = [pytest.mark.kernel, pytest.mark.thorough]

U32 = Int("unsigned int", 4)
U64 = Int("unsigned long", 8)
U8 = Int("unsigned char", 1)
S32 = Int("int", 4, signed=True)

MakeMap = Callable[..., "Map[int, int]"]


@pytest.fixture
def make_map(
    make_object: Callable[..., ObjectSpec], load_now: Callable[..., Loaded]
) -> MakeMap:
    def make(kind: MapKind, max_entries: int = 8, **fields: object) -> "Map[int, int]":
        sizes = {"key_size": 4, "value_size": 8, "key": U32, "value": U64, **fields}
        spec = MapSpec("m", kind=kind, max_entries=max_entries, **sizes)  # type: ignore[arg-type] # passed on as given
        return load_now(make_object(spec)).maps["m"]

    return make


HASHES = [MapKind.HASH, MapKind.LRU_HASH]


@pytest.mark.parametrize("kind", [*HASHES, MapKind.ARRAY])
def test_a_value_that_is_set_is_read_back(make_map: MakeMap, kind: MapKind) -> None:
    m = make_map(kind)

    m[3] = 2**64 - 1

    assert m[3] == 2**64 - 1
    assert m.lookup(3) == 2**64 - 1


@pytest.mark.parametrize("kind", HASHES)
def test_a_missing_key_is_a_key_error(make_map: MakeMap, kind: MapKind) -> None:
    m = make_map(kind)

    with pytest.raises(KeyError):
        m[1]
    with pytest.raises(KeyError):
        del m[1]
    assert m.get(1) is None
    assert m.lookup(1) is None
    assert 1 not in m


def test_a_hash_is_a_mutable_mapping(make_map: MakeMap) -> None:
    m = make_map(MapKind.HASH)

    m.update({1: 10, 2: 20, 3: 30})
    del m[2]

    assert m == {1: 10, 3: 30}
    assert sorted(m) == [1, 3]
    assert sorted(m.values()) == [10, 30]
    assert len(m) == 2
    assert m.pop(1) == 10
    assert m.setdefault(5, 50) == 50
    m.clear()
    assert len(m) == 0


def test_a_map_is_true_even_when_it_is_empty(make_map: MakeMap) -> None:
    assert make_map(MapKind.HASH)


def test_insert_and_replace_tell_whether_they_did_it(make_map: MakeMap) -> None:
    m = make_map(MapKind.HASH)

    assert not m.replace(1, 5)
    assert m.insert(1, 10)
    assert not m.insert(1, 11)
    assert m.replace(1, 12)
    assert m[1] == 12


def test_take_removes_and_returns(make_map: MakeMap) -> None:
    m = make_map(MapKind.HASH)
    m[1] = 10

    try:
        assert m.take(1) == 10
    except NotSupported:
        pytest.skip("this kernel takes no single entries out of a hash")
    assert m.take(1) is None


def test_a_full_hash_says_how_many_it_holds(make_map: MakeMap) -> None:
    m = make_map(MapKind.HASH, max_entries=2)
    m.update({1: 1, 2: 2})

    with pytest.raises(MapError, match="at most 2 entries"):
        m[3] = 3


def test_an_lru_hash_forgets_instead_of_refusing(make_map: MakeMap) -> None:
    m = make_map(MapKind.LRU_HASH, max_entries=64)

    m.update({key: key for key in range(1000)})

    assert 0 < len(m) <= 64


def test_all_entries_of_a_large_hash_are_listed_once(make_map: MakeMap) -> None:
    m = make_map(MapKind.HASH, max_entries=10_000)
    wanted = {key: key * key for key in range(7_000)}
    m.update(wanted)

    listed = list(m.items())

    assert len(listed) == 7_000
    assert dict(listed) == wanted


def test_deleting_while_iterating_is_safe(make_map: MakeMap) -> None:
    m = make_map(MapKind.HASH, max_entries=5_000)
    m.update({key: key for key in range(5_000)})

    for key in m:
        del m[key]

    assert len(m) == 0


def test_iteration_ends_while_others_write(make_map: MakeMap) -> None:
    m = make_map(MapKind.HASH, max_entries=2_000)
    m.update({key: key for key in range(1_000)})
    stop = threading.Event()

    def churn() -> None:
        key = 0
        while not stop.is_set():
            m.pop(key % 1_000, None)
            m[key % 1_000] = key
            key += 1

    writer = threading.Thread(target=churn)
    writer.start()
    try:
        counts = [sum(1 for _ in m.items()) for _ in range(10)]
    finally:
        stop.set()
        writer.join()

    assert max(counts) <= 2_000


def test_the_walk_by_key_yields_each_key_once(make_map: MakeMap) -> None:
    m = make_map(MapKind.HASH, max_entries=5_000)
    m.update({key: key for key in range(5_000)})
    m.batched = False

    found = list(m.items())

    assert len(found) == 5_000
    assert len({key for key, _ in found}) == 5_000


def test_the_walk_by_key_ends_when_its_place_is_deleted(make_map: MakeMap) -> None:
    m = make_map(MapKind.HASH, max_entries=3_000)
    m.update({key: key for key in range(3_000)})
    m.batched = False
    seen = []

    for key in m:
        seen.append(key)
        if len(seen) % 512 == 0:
            m.clear()
            m.update({key: key for key in range(3_000)})

    assert len(seen) == len(set(seen)) == 3_000


def test_an_array_has_all_its_keys_from_the_start(make_map: MakeMap) -> None:
    m = make_map(MapKind.ARRAY, max_entries=4)
    m[2] = 7

    assert list(m.items()) == [(0, 0), (1, 0), (2, 7), (3, 0)]
    assert len(m) == 4
    assert list(m) == [0, 1, 2, 3]


def test_an_array_refuses_deletion(make_map: MakeMap) -> None:
    m = make_map(MapKind.ARRAY)

    for refused in (lambda: m.__delitem__(0), m.clear, lambda: m.pop(0)):
        with pytest.raises(MapError, match="set an entry to zero"):
            refused()


def test_an_array_names_the_keys_it_has(make_map: MakeMap) -> None:
    m = make_map(MapKind.ARRAY, max_entries=4)

    with pytest.raises(MapError, match="keys 0 to 3; 4 is none"):
        m[4] = 1
    with pytest.raises(KeyError):
        m[4]


@pytest.mark.parametrize(
    "kind",
    [MapKind.PERCPU_HASH, MapKind.LRU_PERCPU_HASH, MapKind.PERCPU_ARRAY],
)
@pytest.mark.parametrize("size", [4, 8])
def test_a_per_cpu_value_is_a_list(
    make_map: Callable[..., Map[int, list[int]]], kind: MapKind, size: int
) -> None:
    m = make_map(kind, value_size=size, value=U32 if size == 4 else U64)
    wanted = [cpu + 1 for cpu in range(possible_cpus())]

    m[1] = wanted

    assert m[1] == wanted
    assert dict(m.items())[1] == wanted


def test_a_per_cpu_value_of_another_length_is_refused(
    make_map: Callable[..., Map[int, list[int]]],
) -> None:
    m = make_map(MapKind.PERCPU_ARRAY)

    with pytest.raises(EncodingError, match="one for each possible CPU"):
        m[0] = [1] * (possible_cpus() + 1)


def test_an_lpm_trie_finds_the_longest_prefix(
    make_map: Callable[..., Map[bytes, int]],
) -> None:
    octet = Array(U8, 4)
    key = Struct("key", 8, (Member("length", U32, 0), Member("data", octet, 32)))
    m = make_map(MapKind.LPM_TRIE, key_size=8, key=key)

    def prefix(length: int, *octets: int) -> bytes:
        return struct.pack("=I4B", length, *octets)

    m[prefix(8, 10, 0, 0, 0)] = 1
    m[prefix(24, 10, 1, 2, 0)] = 2

    assert m[prefix(32, 10, 1, 2, 3)] == 2
    assert m[prefix(32, 10, 9, 9, 9)] == 1
    assert m.get(prefix(32, 11, 0, 0, 1)) is None
    assert len(m) == 2


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    with client, accepted:
        yield client, accepted


Pair = tuple[socket.socket, socket.socket]


def test_socket_storage_is_keyed_by_the_socket(make_map: MakeMap, pair: Pair) -> None:
    m = make_map(MapKind.SK_STORAGE, max_entries=0, key=None)
    client, accepted = pair
    values: Map[socket.socket | int, int] = m  # type: ignore[assignment] # made as such

    values[client] = 5
    values[accepted.fileno()] = 6

    assert values[client.fileno()] == 5
    assert values[accepted] == 6
    del values[client]
    assert values.lookup(client) is None


def test_socket_storage_works_without_types(make_map: MakeMap, pair: Pair) -> None:
    m = make_map(MapKind.SK_STORAGE, max_entries=0, key=None, value=None)

    m[pair[0].fileno()] = bytes(range(8))  # type: ignore[assignment] # no types: bytes

    assert m[pair[0].fileno()] == bytes(range(8))  # type: ignore[comparison-overlap] # as above


def test_socket_storage_cannot_be_listed(make_map: MakeMap) -> None:
    m = make_map(MapKind.SK_STORAGE, max_entries=0, key=None)

    with pytest.raises(MapError, match="cannot be listed"):
        list(m)


def cookie(sock: socket.socket) -> int:
    so_cookie = 57
    data = sock.getsockopt(socket.SOL_SOCKET, so_cookie, 8)
    return int.from_bytes(data, "little")


@pytest.mark.parametrize("kind", [MapKind.SOCKMAP, MapKind.SOCKHASH])
def test_a_socket_map_takes_sockets_and_tells_cookies(
    make_map: MakeMap, pair: Pair, kind: MapKind
) -> None:
    m = make_map(kind)
    client, accepted = pair

    m[1] = client  # type: ignore[assignment] # sockets go in, cookies come out
    m[2] = accepted.fileno()

    assert m[1] == cookie(client)
    assert dict(m.items()) == {1: cookie(client), 2: cookie(accepted)}
    del m[1]
    assert list(m) == [2]


def test_a_socket_map_with_narrow_values_says_why_it_cannot_be_read(
    make_map: MakeMap, pair: Pair
) -> None:
    m = make_map(MapKind.SOCKHASH, value_size=4)
    m[1] = pair[0].fileno()

    assert 1 in m
    with pytest.raises(MapError, match="values of 8 bytes"):
        m[1]


def test_what_is_no_socket_is_refused_by_a_socket_map(make_map: MakeMap) -> None:
    m = make_map(MapKind.SOCKHASH)

    with pytest.raises(EncodingError, match="descriptor"):
        m[1] = "socket"  # type: ignore[assignment] # the point of the test


def test_a_map_of_maps_takes_maps_and_tells_ids(
    make_object: Callable[..., ObjectSpec], load_now: Callable[..., Loaded]
) -> None:
    shape = MapSpec("in", kind=MapKind.ARRAY, key_size=4, value_size=8, max_entries=1)
    outer = MapSpec(
        "out",
        kind=MapKind.HASH_OF_MAPS,
        key_size=4,
        value_size=4,
        max_entries=4,
        key=U32,
        inner=shape,
    )
    loaded = load_now(make_object(shape, outer))

    loaded.maps["out"][1] = loaded.maps["in"]

    assert loaded.maps["out"][1] > 0


def test_a_ring_buffer_has_no_keys(make_map: MakeMap) -> None:
    m = make_map(MapKind.RINGBUF, 4096, key_size=0, value_size=0, key=None, value=None)

    with pytest.raises(MapError, match="read its records with RingReader"):
        m[0]
    with pytest.raises(MapError, match="RingReader"):
        m[0] = 1
    with pytest.raises(MapError, match="RingReader"):
        list(m)


@pytest.mark.parametrize(
    ("kind", "fields", "rule"),
    [
        (MapKind.RINGBUF, {"key_size": 8, "value_size": 0}, "power of two"),
        (MapKind.ARRAY, {"key_size": 8, "key": U64}, "keys are 4 bytes"),
        (MapKind.HASH, {"value_size": 0, "value": None}, "at least 1 byte"),
        (MapKind.LPM_TRIE, {"key_size": 4}, "5 to 260 bytes"),
    ],
)
def test_a_map_that_the_kernel_refuses_comes_with_the_rule(
    make_map: MakeMap, kind: MapKind, fields: dict[str, object], rule: str
) -> None:
    with pytest.raises(KernelError, match="cannot create map 'm'") as caught:
        make_map(kind, **fields)

    assert rule in caught.value.__notes__[0]


def test_integers_are_checked_against_their_width(make_map: MakeMap) -> None:
    m = make_map(MapKind.HASH)

    with pytest.raises(EncodingError, match=r"a key of map 'm' is u32; -1"):
        m[-1] = 0
    with pytest.raises(EncodingError, match=r"a value of map 'm' is u64"):
        m[1] = 2**64
    with pytest.raises(EncodingError, match="an integer, not str"):
        m["a"] = 1  # type: ignore[index] # the point of the test


def test_signed_values_are_signed(make_map: MakeMap) -> None:
    m = make_map(MapKind.HASH, value_size=4, value=S32)

    m[1] = -5

    assert m[1] == -5


def test_without_types_keys_and_values_are_bytes(
    make_map: Callable[..., Map[bytes, bytes]],
) -> None:
    m = make_map(MapKind.HASH, key=None, value=None, value_size=3)

    m[b"abcd"] = b"xyz"

    assert dict(m) == {b"abcd": b"xyz"}
    with pytest.raises(EncodingError, match="3 bytes long, not 2"):
        m[b"abcd"] = b"xy"


def test_a_codec_of_ones_own_is_used(
    make_object: Callable[..., ObjectSpec], load_now: Callable[..., Loaded]
) -> None:
    spec = MapSpec("m", kind=MapKind.HASH, key_size=4, value_size=8, max_entries=4)
    codec = MapCodec(
        lambda text: text.encode().ljust(4, b"\0"),
        lambda data: data.rstrip(b"\0").decode(),
        *default_codec(
            MapSpec("m", kind=MapKind.HASH, key_size=4, value_size=8, value=U64)
        )[2:4],
    )
    m = load_now(make_object(spec), codecs={"m": codec}).maps["m"]

    m["abc"] = 7

    assert dict(m) == {"abc": 7}


def test_a_frozen_map_is_read_only(make_map: MakeMap) -> None:
    m = make_map(MapKind.ARRAY)
    m[0] = 1
    m.freeze()

    with pytest.raises(MapError, match="frozen or read-only"):
        m[0] = 2
    assert m[0] == 1


def test_a_closed_map_says_so(make_map: MakeMap) -> None:
    m = make_map(MapKind.HASH)
    m.close()
    m.close()

    with pytest.raises(ValueError, match="is closed"):
        m[0]


def test_descriptors_close_on_exec(make_map: MakeMap) -> None:
    flags = fcntl.fcntl(make_map(MapKind.HASH).fd, fcntl.F_GETFD)

    assert flags & fcntl.FD_CLOEXEC


def test_keys_of_any_buffer_type_are_taken(
    make_map: Callable[..., Map[bytes, bytes]],
) -> None:
    m = make_map(MapKind.HASH, key=None, value=None)

    m[memoryview(array.array("I", [7]))] = bytearray(8)  # type: ignore[index,assignment] # any buffer

    assert dict(m) == {struct.pack("=I", 7): bytes(8)}


def test_a_frozen_hash_is_not_cleared_in_silence(make_map: MakeMap) -> None:
    m = make_map(MapKind.HASH)
    m[1] = 1
    m.freeze()

    with pytest.raises(MapError, match="cannot clear map 'm': it is frozen"):
        m.clear()
    with pytest.raises(MapError, match="cannot freeze map 'm': it is frozen"):
        m.freeze()


@pytest.mark.parametrize("key", ["a", None, 1.5, (U32,)])
def test_a_key_that_is_no_integer_is_refused(make_map: MakeMap, key: object) -> None:
    m = make_map(MapKind.ARRAY)

    with pytest.raises(EncodingError, match="a key of map 'm' is an integer, not"):
        m[key] = 1  # type: ignore[index] # refused for that


def test_what_only_looks_like_an_integer_is_refused(make_map: MakeMap) -> None:
    class Packed:
        def to_bytes(self) -> bytes:
            return bytes(4)

    with pytest.raises(EncodingError, match="is an integer, not Packed"):
        make_map(MapKind.HASH)[Packed()]  # type: ignore[index] # refused for that


TRIE_KEY = Struct("prefix", 8, (Member("bits", U32, 0), Member("at", Array(U8, 4), 32)))


def prefix(bits: int, address: int) -> bytes:
    return struct.pack("=I", bits) + struct.pack(">I", address)


@pytest.fixture
def trie(make_map: Callable[..., Map[bytes, int]]) -> Map[bytes, int]:
    return make_map(MapKind.LPM_TRIE, 6000, key_size=8, key=TRIE_KEY)


def test_a_walk_of_a_trie_ends_and_repeats_nothing(trie: Map[bytes, int]) -> None:
    trie.update({prefix(32, number): number for number in range(5000)})

    seen = []
    for key in trie:
        seen.append(key)
        if len(seen) % 2048 == 0:  # the place from which the kernel would go on
            del trie[key]
            trie[prefix(32, 100_000 + len(seen))] = 1

    assert len(seen) == len(set(seen))
    assert len(seen) <= 2 * 6000


def test_a_long_trie_is_counted(trie: Map[bytes, int]) -> None:
    trie.update({prefix(32, number): number for number in range(5000)})

    assert len(trie) == 5000


def test_a_trie_says_what_it_does_not_take(
    make_map: Callable[..., Map[bytes, int]],
) -> None:
    m = make_map(MapKind.LPM_TRIE, 1, key_size=8, key=TRIE_KEY)

    with pytest.raises(MapError, match="a prefix is at most 32 bits long"):
        m[prefix(33, 0)] = 1
    m[prefix(8, 0)] = 1
    with pytest.raises(MapError, match="map 'm' is full: it holds at most 1 entries"):
        m[prefix(9, 0)] = 1


def test_a_sockmap_names_the_keys_it_has(make_map: MakeMap, pair: Pair) -> None:
    m = make_map(MapKind.SOCKMAP, max_entries=2)

    with pytest.raises(MapError, match="has the keys 0 to 1; 5 is none"):
        m[5] = pair[0].fileno()
    with pytest.raises(KeyError):
        del m[1]


def test_a_socket_without_a_peer_is_refused(make_map: MakeMap) -> None:
    m = make_map(MapKind.SOCKMAP)

    with socket.socket() as idle, pytest.raises(MapError, match="connected or listen"):
        m[0] = idle.fileno()


@pytest.mark.parametrize("kind", [MapKind.SK_STORAGE, MapKind.SOCKHASH])
def test_a_number_that_is_no_descriptor_is_refused(
    make_map: MakeMap, kind: MapKind
) -> None:
    fields = {"max_entries": 0, "key": None} if kind is MapKind.SK_STORAGE else {}
    m = make_map(kind, **fields)

    with pytest.raises(EncodingError, match=f"{1 << 40} "):
        m[1 << 40] = 1 << 40
