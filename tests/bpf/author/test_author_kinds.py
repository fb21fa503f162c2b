"""Every kind of map in the running kernel: what programs and user space do with it."""

import os
import socket
from collections.abc import Iterator

import pytest

from beewire.bpf import (
    Array,
    ArrayOfMaps,
    BloomFilter,
    CgroupArray,
    CpuMap,
    DevMap,
    DevMapHash,
    Global,
    HashMap,
    HashOfMaps,
    Kernel,
    Loaded,
    PerCpuArray,
    PerfEventArray,
    Port,
    ProgArray,
    Queue,
    RawTracepoint,
    ReusePortSockArray,
    RingBuf,
    Stack,
    StackTrace,
    Struct,
    TaskStorage,
    Worker,
    XdpAction,
    XdpContext,
    XskMap,
    cpu_id,
    current,
    current_tgid,
    i32,
    load,
    raw_tracepoint,
    u32,
    u64,
    xdp,
)
from beewire.bpf.kernel import cgroup2_mount
from beewire.errors import EncodingError, MapError, SpecError

pytestmark = pytest.mark.kernel


class Job(Struct):
    number: u64
    size: u32 = 0


class task_struct(Kernel):  # noqa: N801 - the kernel's name
    tgid: i32


out = Array[u64](max_entries=16)
jobs = Queue[Job](max_entries=2)
numbers = Stack[u32](max_entries=4)
seen = BloomFilter[u32](max_entries=100)
per_cpu = PerCpuArray[u64](max_entries=2)
tenants = HashOfMaps[u32, HashMap[u32, u64]](
    HashMap[u32, u64](max_entries=8), max_entries=8
)
shelves = ArrayOfMaps[Array[u64]](Array[u64](max_entries=3), max_entries=2)
ports = DevMap(max_entries=4)
ports_by_key = DevMapHash(max_entries=4)
cpus = CpuMap(max_entries=2)
xsks = XskMap(max_entries=2)
samples = PerfEventArray[Job]()
records = RingBuf[Job](size=4096)
steps = ProgArray(max_entries=2)
ticks = TaskStorage[u64]()
stacks = StackTrace(max_entries=1 << 14, depth=16)
groups = CgroupArray(max_entries=2)
out_of = Global(u64)


@xdp
def keyless(_ctx: XdpContext) -> XdpAction:
    out[0] = 1 if jobs.push(Job(number=5, size=6)) == 0 else 0
    if (first := jobs.peek()) is not None:
        out[1] = first.number
        if (taken := jobs.pop()) is not None:
            out[2] = taken.size + first.number
    if jobs.pop() is None:
        out[3] = 77
    numbers.push(9)
    numbers.push(10)
    if (number := numbers.pop()) is not None:
        out[4] = number.value
    return XdpAction.PASS


@xdp
def filters(_ctx: XdpContext) -> XdpAction:
    seen.add(42)
    if 42 in seen:
        out[0] = 1
    if 43 in seen:
        out[1] = 1
    return XdpAction.PASS


@xdp
def of_a_cpu(_ctx: XdpContext) -> XdpAction:
    per_cpu[1] += 5
    if (there := per_cpu.lookup_cpu(1, cpu_id())) is not None:
        out[0] = there.value
    return XdpAction.PASS


@xdp
def nested(_ctx: XdpContext) -> XdpAction:
    if (table := tenants.lookup(1)) is not None:
        table[3] += 4
        table[5] = 6
        if 5 in table:
            out[1] = 8
        del table[5]
        if (value := table.lookup(3)) is not None:
            value.value += 100
    if (shelf := shelves.lookup(1)) is not None:
        shelf[2] = 9
    if shelves.lookup(0) is None:
        out[2] = 1
    return XdpAction.PASS


@xdp
def redirects(ctx: XdpContext) -> XdpAction:
    out[0] = 1 if 1 in ports else 0
    out[1] = 1 if 7 in ports_by_key else 0
    out[2] = 1 if 1 in xsks else 0
    if ctx.length == 60:
        return ports_by_key.redirect(7)
    if ctx.length == 61:
        return cpus.redirect(1)
    if ctx.length == 62:
        return xsks.redirect(0, XdpAction.TX)
    return ports.redirect(2, XdpAction.DROP)


@xdp
def outputs(ctx: XdpContext) -> XdpAction:
    samples.output(ctx, Job(number=1, size=2))
    out[0] = records.waiting()
    records.emit(Job(number=3))
    out[1] = records.waiting()
    with records.reserve() as record:
        if record is not None:
            record.number = 4
            records.discard(record)
    return XdpAction.PASS


@xdp
def first(ctx: XdpContext) -> XdpAction:
    steps.tail_call(ctx, 1)
    return XdpAction.PASS


@xdp
def second(_ctx: XdpContext) -> XdpAction:
    return XdpAction.DROP


@raw_tracepoint("sys_enter")
def on_call(ctx: RawTracepoint) -> None:
    if current_tgid() != out_of.value:
        return
    out[1] = stacks.stack_id(ctx)
    out[2] = stacks.stack_id(ctx, user=True, skip=1)
    out[3] = groups.has_current_task(0)
    out[4] = groups.has_current_task(1)


@raw_tracepoint("sys_enter")
def on_call_of_a_task(_ctx: RawTracepoint) -> None:
    if current_tgid() != out_of.value:
        return
    if (count := ticks.get_or_create(current(task_struct))) is not None:
        count.value += 1
    if ticks.get(current(task_struct)) is None:
        out[0] = 1


def run(loaded: Loaded, program: object, size: int = 64) -> int:
    live = loaded[program].live  # type: ignore[attr-defined]
    result: int = live.test_run(data_in=bytes(size)).retval
    return result


def test_queues_and_stacks() -> None:
    with load([keyless]) as loaded:
        run(loaded, keyless)

        assert list(loaded[out].values())[:5] == [1, 5, 11, 77, 10]
        left = loaded[numbers].pop()
        assert left is not None
        assert left.value == 9
        assert loaded[numbers].peek() is None


def test_filters() -> None:
    with load([filters]) as loaded:
        loaded[seen].add(7)

        run(loaded, filters)

        assert list(loaded[out].values())[:2] == [1, 0]
        assert [n in loaded[seen] for n in (7, 42, 8)] == [True, True, False]


def test_a_full_queue_says_so_or_forgets_the_oldest() -> None:
    with load([keyless]) as loaded:
        queue = loaded[jobs]

        assert [queue.push(Job(number=n)) for n in range(3)] == [0, 0, -7]
        assert queue.push(Job(number=9), 2) == 0
        assert queue.pop() == Job(number=1)
        assert queue.peek() == Job(number=9)


def test_the_value_of_a_cpu() -> None:
    with load([of_a_cpu]) as loaded:
        run(loaded, of_a_cpu)

        assert loaded[out][0] == 5


def test_maps_in_maps() -> None:
    with load([nested]) as loaded:
        table = loaded[tenants].create()
        table[1] = 2
        loaded[tenants][1] = table
        loaded[shelves][1] = loaded[shelves].create()

        run(loaded, nested)

        assert dict(table) == dict(loaded[tenants][1]) == {1: 2, 3: 104}
        assert list(loaded[shelves]) == [1]
        assert loaded[shelves][1][2] == 9
        assert list(loaded[out].values())[:3] == [0, 8, 1]
        del loaded[tenants][1]
        assert list(loaded[tenants]) == []


def test_devices_and_cpus() -> None:
    with load([redirects]) as loaded:
        loaded[ports][1] = "lo"
        loaded[ports_by_key][7] = 1
        loaded[cpus][1] = Worker(queue_size=128)

        action = run(loaded, redirects, 70)

        assert action == XdpAction.DROP
        assert list(loaded[out].values())[:3] == [1, 1, 0]
        assert loaded[ports][1] == Port(ifindex=1)
        assert list(loaded[ports]) == [1]
        assert list(loaded[ports_by_key]) == [7]
        assert loaded[cpus][1].queue_size == 128
        del loaded[ports][1]
        assert 1 not in loaded[ports]
        assert run(loaded, redirects, 60) == XdpAction.REDIRECT
        assert run(loaded, redirects, 61) == XdpAction.REDIRECT
        assert run(loaded, redirects, 62) == XdpAction.TX
        with pytest.raises(MapError, match="no network interface 'nope'"):
            loaded[ports][0] = "nope"


def test_perf_buffers_and_rings() -> None:
    with load([outputs]) as loaded:
        reader = loaded[samples].reader

        run(loaded, outputs)

        assert loaded[samples].poll() == [Job(number=1, size=2)]
        assert loaded[samples].read(timeout=0) == []
        assert reader.lost == 0
        assert list(loaded[out].values())[:2] == [0, 24]
        assert loaded[records].poll() == [Job(number=3)]


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Run on one CPU: each has a perf buffer of its own."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    yield
    os.sched_setaffinity(0, cpus)


@pytest.mark.usefixtures("one_cpu")
def test_a_perf_buffer_counts_what_it_lost() -> None:
    with load([outputs]) as loaded:
        reader = loaded[samples].reader
        for _ in range(3000):
            run(loaded, outputs)
        found = len(reader.read())

        run(loaded, outputs)

        assert found < 3000
        assert len(reader.read()) == 1
        assert reader.lost == 3000 - found


def test_tail_calls() -> None:
    with load([first, second]) as loaded:
        assert run(loaded, first) == XdpAction.PASS

        loaded[steps][1] = loaded[second]

        assert run(loaded, first) == XdpAction.DROP
        assert list(loaded[steps]) == [1]
        del loaded[steps][1]
        assert 1 not in loaded[steps]


@pytest.fixture
def cgroup_root() -> Iterator[int]:
    fd = os.open(cgroup2_mount(), os.O_RDONLY)
    yield fd
    os.close(fd)


def test_the_running_task_has_a_value() -> None:
    with load([on_call_of_a_task], globals={"out_of": os.getpid()}) as loaded:
        with loaded[on_call_of_a_task].attach():
            os.getppid()
        pidfd = os.pidfd_open(os.getpid())

        assert loaded[ticks][pidfd] > 0
        os.close(pidfd)
        assert loaded[out][0] == 0


def test_stacks_and_cgroups_of_the_running_task(cgroup_root: int) -> None:
    with load([on_call], globals={"out_of": os.getpid()}) as loaded:
        loaded[groups][0] = cgroup_root
        with loaded[on_call].attach():
            os.getppid()
        values = list(loaded[out].values())

        assert values[3] == 1
        assert values[4] == -11 % (1 << 64)
        frames = loaded[stacks][values[1]]
        assert 1 <= len(frames) <= 16
        assert all(frame >> 63 for frame in frames)
        assert values[2] in loaded[stacks]
        assert not any(frame >> 63 for frame in loaded[stacks][values[2]])
        del loaded[stacks][values[1]]
        assert values[1] not in loaded[stacks]


def test_sockets_of_one_port_are_put_by_descriptor() -> None:
    group = ReusePortSockArray(max_entries=2)
    outer = ArrayOfMaps[ReusePortSockArray](group, max_entries=1)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        live = outer.create()
        live[1] = sock

        assert live[1] > 0
        assert 1 in live
        assert 0 not in live


def test_wrong_values_are_refused_in_words() -> None:
    with pytest.raises(
        SpecError, match="16 hash functions: a Bloom filter has 1 to 15"
    ):
        BloomFilter[u32](max_entries=8, hashes=16)
    with pytest.raises(SpecError, match="a map inside a map holds no maps itself"):
        ArrayOfMaps(shelves, max_entries=1)
    with load([keyless]) as loaded, pytest.raises(EncodingError, match="is no Job"):
        loaded[jobs].push(3)  # type: ignore[arg-type]
