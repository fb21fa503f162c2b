"""Maps without programs: made, opened where they are pinned, read in all ways."""

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from beewire.bpf import (
    Arena,
    Array,
    ArrayOfMaps,
    AttachedStorage,
    BloomFilter,
    CgroupArray,
    CgroupStorage,
    CpuMap,
    DevMap,
    DevMapHash,
    HashMap,
    HashOfMaps,
    InodeStorage,
    InsnArray,
    IPv4Prefix,
    IPv6Prefix,
    LpmTrie,
    LruHash,
    LruPerCpuHash,
    PerCpu,
    PerCpuArray,
    PerCpuAttachedStorage,
    PerCpuGlobal,
    PerCpuHash,
    PerfEventArray,
    Port,
    ProgArray,
    Queue,
    ResizableHash,
    ReusePortSockArray,
    RingBuf,
    SkStorage,
    SockHash,
    SockMap,
    SpinLock,
    Stack,
    StackTrace,
    Struct,
    TaskStorage,
    UserRingBuf,
    Worker,
    XdpAction,
    XdpContext,
    XskMap,
    array,
    be16,
    be32,
    chars,
    features,
    load,
    u32,
    u64,
    xdp,
)
from beewire.bpf.author.bound import OnMap
from beewire.bpf.kernel import (
    cgroup2_mount,
    possible_cpus,
)
from beewire.bpf.object import MapKind
from beewire.errors import EncodingError, MapError, NotSupported, SpecError
from tests.cgroups import remove

pytestmark = pytest.mark.kernel


class Flow(Struct):
    port: be16
    name: str = chars(6)


class Stats(Struct):
    packets: u64
    sizes: list[int] = array(u32, 2)


class Locked(Struct):
    lock: SpinLock
    value: u64


EVERY: list[OnMap] = [
    HashMap[u32, u64](4),
    LruHash[u32, u64](4),
    PerCpuHash[u32, u64](4),
    LruPerCpuHash[u32, u64](4),
    ResizableHash[u32, u64](4),
    Array[u64](4),
    PerCpuArray[u64](4),
    LpmTrie[IPv4Prefix, u64](4),
    Queue[u64](4),
    Stack[u64](4),
    BloomFilter[u64](4),
    RingBuf[u64](size=4096),
    UserRingBuf[u64](size=4096),
    PerfEventArray[u64](),
    StackTrace(4),
    HashOfMaps[u32, HashMap[u32, u64]](HashMap[u32, u64](4), 4),
    ArrayOfMaps[Array[u64]](Array[u64](4), 4),
    Arena(pages=1),
    ProgArray(4),
    DevMap(4),
    DevMapHash(4),
    CpuMap(1),
    XskMap(4),
    SockMap[u32](4),
    SockHash[u64](4),
    ReusePortSockArray(4),
    CgroupArray(4),
    SkStorage[u64](),
    TaskStorage[u64](),
    InodeStorage[u64](),
    CgroupStorage[u64](),
    AttachedStorage[u64](),
    PerCpuAttachedStorage[u64](),
    InsnArray(4),
]


def kinds(declared: OnMap) -> str:
    return declared.kind.name


def needs(kind: MapKind) -> None:
    if not features.map_type(kind):
        pytest.skip(f"this kernel has no {kind.name} maps")


def test_there_is_a_class_for_every_kind() -> None:
    assert {each.kind for each in EVERY} == {*MapKind} - {
        MapKind.UNSPEC,
        MapKind.STRUCT_OPS,  # a class of callbacks: StructOps
    }


@pytest.mark.parametrize("declared", EVERY, ids=kinds)
def test_every_kind_is_made_told_and_pinned(declared: OnMap, pins: str) -> None:
    needs(declared.kind)

    with declared.load() as table:
        info = table.info
        table.pin(f"{pins}/pinned")
    with declared.open(f"{pins}/pinned") as again:
        assert again.info.id == info.id

    assert info.kind is declared.kind
    assert info.memory >= -1
    assert not info.frozen


def test_a_kind_that_the_kernel_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HashMap, "kind", MapKind.RHASH)
    if features.map_type(MapKind.RHASH):
        pytest.skip("this kernel has all kinds")

    with pytest.raises(NotSupported, match=r"map type RHASH .*since 7.3"):
        HashMap[u32, u64](4).load()


def test_a_map_of_its_own_is_closed_once() -> None:
    table = HashMap[u32, u64](4, name="mine").load()
    table[1] = 5
    table.close()
    table.close()

    with pytest.raises((ValueError, MapError)):
        table[1]


def test_a_map_of_programs_is_not_closed_by_itself() -> None:
    with pytest.raises(MapError, match="hits belongs to the programs that use it"):
        HashMap[u32, u64](4, name="hits").close()


def test_structs_are_keys_and_values() -> None:
    wanted = {
        Flow(port=port, name="eth0"): Stats(packets=port * 3, sizes=[port, 1])
        for port in range(1, 300)
    }
    with HashMap[Flow, Stats](1024).load() as table:
        table.update(wanted)

        assert table.to_dict() == dict(table.items()) == wanted
        assert table[Flow(port=7, name="eth0")].sizes == [7, 1]


def test_arrays_of_numpy_have_the_fields() -> None:
    numpy = pytest.importorskip("numpy")
    with HashMap[Flow, Stats](1024).load() as table:
        table.update(
            {
                Flow(port=80 + n, name="eth0"): Stats(packets=n, sizes=[n, n])
                for n in range(100)
            }
        )
        keys, values = table.to_numpy()

    assert keys.dtype.names == ("port", "name")
    assert sorted(keys["port"]) == list(range(80, 180))
    assert set(keys["name"]) == {b"eth0"}
    assert numpy.array_equal(values["packets"] + 80, keys["port"])
    assert values["sizes"].sum() == 2 * sum(range(100))


def test_integers_of_numpy_are_taken() -> None:
    numpy = pytest.importorskip("numpy")
    with HashMap[u32, u64](8).load() as table:
        table[numpy.uint32(1)] = numpy.uint64(5)
        table.update({numpy.uint32(2): numpy.int64(6)})

        assert table.to_dict() == {1: 5, 2: 6}
        with pytest.raises(EncodingError, match="is an integer, not float64"):
            table[numpy.float64(1)] = 1


def test_numpy_sees_every_cpu() -> None:
    pytest.importorskip("numpy")
    with PerCpuArray[u32](3).load() as counters:
        counters[1] = list(range(1, possible_cpus() + 1))
        found = counters.to_numpy()

    assert found.shape == (3, possible_cpus())
    assert found[1].sum() == sum(range(1, possible_cpus() + 1))


def test_values_of_every_cpu_add_up() -> None:
    with PerCpuArray[Stats](2).load() as stats:
        count = possible_cpus()
        stats[0] = [Stats(packets=n, sizes=[1, n]) for n in range(count)]
        found = stats[0]

    total = sum(range(count))
    assert isinstance(found, PerCpu)
    assert found.sum() == Stats(packets=total, sizes=[count, total])
    assert found.max(key=lambda each: each.packets).packets == count - 1
    assert found.min(key=lambda each: each.packets).packets == 0
    with pytest.raises(MapError, match=r"write max\(key=...\), such as the field of S"):
        found.max()


def test_texts_have_no_sum() -> None:
    with PerCpuArray[Flow](1).load() as flows, pytest.raises(MapError, match="no sum"):
        flows[0].sum()


def test_one_value_serves_every_cpu() -> None:
    with PerCpuHash[u32, u64](4).load() as counters:
        counters[1] = 7

        assert counters[1] == [7] * possible_cpus()
        with pytest.raises(EncodingError, match="or one item for all of them: not"):
            counters[1] = [1] * (possible_cpus() + 1)


def test_a_mapped_array_is_the_memory_that_programs_see() -> None:
    pytest.importorskip("numpy")
    with Array[u32](5, mmap=True).load() as values:
        values[2] = 7
        view = values.to_numpy(copy=False)
        view[3] = 9
        copy = values.to_numpy()
        values[4] = 11

        assert values.to_dict() == {0: 0, 1: 0, 2: 7, 3: 9, 4: 11}
        assert list(view) == [0, 0, 7, 9, 11]
        assert list(copy) == [0, 0, 7, 9, 0]
        with pytest.raises(MapError, match="is mapped for writing"):
            values.freeze()
        del view
        values.freeze()
        assert values.info.frozen
        with pytest.raises(MapError, match="frozen or read-only"):
            values[0] = 1
        assert values.memory[16] == 7
        with pytest.raises(TypeError):
            values.memory[16] = 8


def test_an_array_that_is_not_mapped_says_how() -> None:
    with (
        Array[u32](5).load() as values,
        pytest.raises(MapError, match=r"as Array\[...\]\(..., mmap=True\) does"),
    ):
        values.to_numpy(copy=False)


def test_values_with_a_lock_are_read_under_it() -> None:
    with Array[Locked](1).load() as accounts:
        accounts[0] = Locked(lock=SpinLock(), value=5)

        assert accounts[0].value == 5
        assert accounts.to_dict()[0].value == 5
        accounts.update({0: Locked(lock=SpinLock(), value=6)})
        assert accounts[0].value == 6


def test_prefixes_are_texts_and_addresses() -> None:
    with LpmTrie[IPv4Prefix, u32](16).load() as routes:
        routes["10.0.0.0/8"] = 1
        routes[ipaddress.ip_network("10.1.0.0/16")] = 2
        routes.update({IPv4Prefix(bits=32, address=0x01020304): 3})

        assert routes["10.1.2.3"] == 2
        assert routes[ipaddress.ip_address("10.9.9.9")] == 1
        assert "11.0.0.0" not in routes
        assert sorted(map(str, routes)) == ["1.2.3.4/32", "10.0.0.0/8", "10.1.0.0/16"]
        assert {key.network for key in routes} >= {ipaddress.ip_network("10.0.0.0/8")}
        del routes["10.0.0.0/8"]
        assert len(routes) == 2


def test_prefixes_of_ipv6() -> None:
    with LpmTrie[IPv6Prefix, u32](16).load() as routes:
        routes["fd00::/8"] = 1

        assert routes["fd00::1"] == 1
        assert [str(key) for key in routes] == ["fd00::/8"]
        assert IPv6Prefix.of("fd00::/8") in routes


routes = LpmTrie[IPv4Prefix, u32](16)


@xdp
def route(ctx: XdpContext) -> XdpAction:
    wanted = IPv4Prefix(bits=32, address=be32(0x0A010203))
    if ctx.length > 100:
        wanted = IPv4Prefix(bits=32, address=be32(0x0B000000))
    if (found := routes.lookup(wanted)) is None:
        return XdpAction.ABORTED
    return XdpAction.PASS if found.value == 7 else XdpAction.DROP


def test_programs_find_what_python_put_in() -> None:
    with load(route) as loaded:
        table, program = loaded[routes], loaded.programs["route"].live
        table["10.0.0.0/8"] = 1
        assert program.test_run(bytes(64)).retval == XdpAction.DROP
        table["10.1.0.0/16"] = 7

        assert program.test_run(bytes(64)).retval == XdpAction.PASS
        assert program.test_run(bytes(128)).retval == XdpAction.ABORTED


runs = PerCpuGlobal(u64)


@xdp
def counted(ctx: XdpContext) -> XdpAction:  # noqa: ARG001 - a program has one
    runs.value += 1
    return XdpAction.PASS


def test_a_variable_of_every_cpu_adds_up() -> None:
    with load(counted) as loaded:
        for _ in range(5):
            loaded.programs["counted"].live.test_run(bytes(64))

        assert loaded[runs].values.sum() == 5
        loaded[runs].values = [1] * possible_cpus()
        assert loaded[runs].values.max() == 1


@pytest.mark.parametrize(
    ("prefix", "why"),
    [
        ("10.0.0.1/8", "has host bits set"),
        ("fd00::/8", "the keys are for IPv4, fd00::/8 is IPv6"),
        ("ten", "is no address or prefix"),
        (5, "5 is no IPv4Prefix"),
    ],
)
def test_what_is_no_prefix_is_told(prefix: str, why: str) -> None:
    with (
        LpmTrie[IPv4Prefix, u32](16).load() as routes,
        pytest.raises(EncodingError, match=why),
    ):
        routes[prefix] = 1


def test_ports_and_workers_are_listed() -> None:
    with DevMap(4).load() as ports, CpuMap(1).load() as workers:
        ports[2] = "lo"
        workers[0] = 192

        assert ports.to_dict() == {2: Port(ifindex=1)}
        assert dict(workers.items()) == {0: Worker(queue_size=192)}
        assert (list(ports), len(ports), 1 in ports) == ([2], 1, False)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    with client, accepted:
        yield client, accepted


def test_sockets_are_listed_by_their_cookies(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    with SockHash[u64](4).load() as peers, SockMap[u32](4).load() as slots:
        peers[10], peers[11], slots[2] = *pair, pair[0]

        assert set(peers.to_dict()) == {10, 11}
        assert slots.to_dict() == {2: peers[10]}
        del slots[2]
        assert len(slots) == 0


def test_maps_in_maps_are_listed() -> None:
    inner = HashMap[u32, u64](4)
    with HashOfMaps[u32, HashMap[u32, u64]](inner, 4).load() as tenants:
        with tenants.create() as table:
            table[1] = 2
            tenants[9] = table

        assert {key: dict(held.items()) for key, held in tenants.items()} == {9: {1: 2}}
        with (
            HashMap[u32, u32](4).load() as other,
            pytest.raises(
                SpecError, match=r"for 3 in .*: value_size is 4, the program"
            ),
        ):
            tenants[3] = other


def test_maps_in_arrays_are_listed_where_there_are_any() -> None:
    inner = Array[u64](2)
    with ArrayOfMaps[Array[u64]](inner, 8).load() as shards:
        with shards.create() as table:
            table[1] = 5
            shards[6] = table

        assert list(shards) == [6]
        assert {at: held.to_dict() for at, held in shards.items()} == {6: {0: 0, 1: 5}}
        with (
            Array[u64](3).load() as longer,
            pytest.raises(SpecError, match="max_entries is 3, the program expects 2"),
        ):
            shards[0] = longer


def test_inner_hashes_may_be_of_any_size() -> None:
    inner = HashMap[u32, u64](4)
    with (
        HashOfMaps[u32, HashMap[u32, u64]](inner, 4).load() as tenants,
        HashMap[u32, u64](100).load() as large,
    ):
        tenants[1] = large

        assert tenants[1].info.max_entries == 100


@pytest.fixture
def cgroup() -> Iterator[str]:
    mount = cgroup2_mount()
    if not mount:
        pytest.skip("cgroup2 is not mounted")
    path = Path(mount) / f"bw-alone-{os.getpid()}"
    path.mkdir()
    yield str(path)
    remove(path)


def test_cgroups_are_named_by_their_path(cgroup: str) -> None:
    needs(MapKind.CGRP_STORAGE)
    with CgroupStorage[u64]().load() as state, CgroupArray(2).load() as groups:
        state[cgroup] = 7
        groups[0] = cgroup

        assert state[Path(cgroup)] == 7
        del state[cgroup]
        assert cgroup not in state
        with pytest.raises(
            MapError, match="a cgroup's directory /no/such cannot be op"
        ):
            state["/no/such"] = 1
        with pytest.raises(MapError, match="it takes directories of cgroups"):
            groups[1] = "/etc/passwd"


def test_files_are_named_by_their_path(tmp_path: Path) -> None:
    needs(MapKind.INODE_STORAGE)
    path = tmp_path / "file"
    path.touch()
    with InodeStorage[u64]().load() as state, path.open() as file:
        state[path] = 7

        assert state[file] == 7
        with pytest.raises(MapError, match="cannot be listed"):
            state.live.to_dict()


def test_tasks_are_named_by_a_pidfd() -> None:
    needs(MapKind.TASK_STORAGE)
    fd = os.pidfd_open(os.getpid())
    with TaskStorage[u64]().load() as state:
        state[fd] = 7

        assert state[fd] == 7
        with pytest.raises(
            EncodingError, match=r"a pidfd \(os.pidfd_open\), is a desc"
        ):
            state["me"] = 1
    os.close(fd)


named_later = Array[u32](1)


@xdp
def counts_later(ctx: XdpContext) -> XdpAction:  # noqa: ARG001 - a program has one
    named_later[0] = 1
    return XdpAction.PASS


def test_a_map_loaded_alone_gets_its_own_name_from_a_program_later() -> None:
    with named_later.load():
        pass

    with load(counts_later) as loaded:
        assert list(loaded.maps) == ["named_later"]
