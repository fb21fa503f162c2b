# ruff: noqa: ARG001 - a program has a context, needed or not
"""Reading records: every way of it, and what is counted."""

import asyncio
import itertools
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beewire.bpf import (
    Global,
    PerfEventArray,
    RingBuf,
    Struct,
    XdpAction,
    XdpContext,
    collect,
    load,
    u64,
    xdp,
)
from beewire.bpf.author.loaded import Loaded
from beewire.bpf.author.records import TypedDecoding
from beewire.bpf.kernel import Counts, RingReader
from beewire.errors import MapError, SpecError

pytestmark = pytest.mark.kernel

PACKET = bytes(64)
BYTES = 4096


class Event(Struct):
    number: u64
    twice: u64


class Long(Struct):
    number: u64
    twice: u64
    rest: u64


events = RingBuf[Event](size=BYTES)
uncounted = RingBuf[Event](size=BYTES, count_dropped=False)
emitted = RingBuf[Event](size=BYTES)
copied = RingBuf[Event](size=BYTES)
seldom = RingBuf[Event](size=1 << 16, wakeup_bytes=1 << 12, latency=0.05)
long_events = RingBuf[Long](size=BYTES)
numbers = RingBuf[u64](size=BYTES)
samples = PerfEventArray[Event](size=4096)
late_samples = PerfEventArray[Event](size=1 << 14, wakeup_bytes=1 << 12, latency=0.05)
count = Global(u64)


@xdp
def send(ctx: XdpContext) -> XdpAction:
    count.value += 1
    with events.reserve() as e:
        if e is not None:
            e.number = count.value
            e.twice = 2 * count.value
    return XdpAction.PASS


@xdp
def discard(ctx: XdpContext) -> XdpAction:
    with events.reserve() as e:
        if e is not None:
            events.discard(e)
    return XdpAction.PASS


@xdp
def send_long(ctx: XdpContext) -> XdpAction:
    count.value += 1
    long_events.emit(Long(number=count.value, twice=2 * count.value, rest=7))
    return XdpAction.PASS


@xdp
def send_all_ways(ctx: XdpContext) -> XdpAction:
    event = Event(number=1, twice=2)
    emitted.emit(Event(number=1, twice=2))
    copied.emit(event)
    copied.output(event)
    numbers.emit(5)
    with uncounted.reserve() as e:
        if e is not None:
            e.number = 1
            e.twice = 2
    return XdpAction.PASS


@xdp
def send_seldom(ctx: XdpContext) -> XdpAction:
    count.value += 1
    seldom.emit(Event(number=count.value, twice=0))
    return XdpAction.PASS


@xdp
def sample(ctx: XdpContext) -> XdpAction:
    count.value += 1
    samples.output(ctx, Event(number=count.value, twice=2 * count.value))
    late_samples.output(ctx, Event(number=count.value, twice=0))
    return XdpAction.PASS


@pytest.fixture
def loaded() -> Iterator[Loaded]:
    with load([send, discard]) as found:
        yield found


def run(loaded: Loaded, program: Any, times: int = 1) -> None:
    if times:
        loaded[program].live.test_run(PACKET, repeat=times)


# --- each way of reading gives the same records ---


def test_a_loop_gives_objects(loaded: Loaded) -> None:
    run(loaded, send, 5)

    found = list(itertools.islice(loaded[events], 5))

    assert found == [Event(number=n, twice=2 * n) for n in range(1, 6)]


def test_a_batch_gives_tuples(loaded: Loaded) -> None:
    run(loaded, send, 5)

    assert loaded[events].read_batch() == [(n, 2 * n) for n in range(1, 6)]
    assert loaded[events].read_batch(0) == []


def test_a_batch_is_a_numpy_array_if_asked(loaded: Loaded) -> None:
    pytest.importorskip("numpy")
    run(loaded, send, 5)

    found = loaded[events].read_batch(numpy=True)

    assert found["twice"].tolist() == [2, 4, 6, 8, 10]
    assert found.dtype.names == ("number", "twice")
    assert len(loaded[events].read_batch(0, numpy=True)) == 0


def test_a_batch_has_at_most_its_limit(loaded: Loaded) -> None:
    run(loaded, send, 5)

    assert loaded[events].read_batch(limit=2) == [(1, 2), (2, 4)]
    assert loaded[events].read_batch(limit=9) == [(3, 6), (4, 8), (5, 10)]


def test_a_callback_gets_every_record_until_it_returns_true(loaded: Loaded) -> None:
    run(loaded, send, 5)
    seen: list[int] = []

    def on_event(event: Event) -> bool:
        seen.append(event.number)
        return event.number == 3

    assert loaded[events].consume(on_event) == 3
    assert seen == [1, 2, 3]
    assert loaded[events].read_batch(0) == [(4, 8), (5, 10)]


def test_what_a_callback_raises_ends_it_and_loses_nothing_else(loaded: Loaded) -> None:
    run(loaded, send, 3)

    def fail(event: Event) -> None:
        raise ValueError(event.number)

    with pytest.raises(ValueError, match="1"):
        loaded[events].consume(fail)

    assert loaded[events].read_batch(0) == [(2, 4), (3, 6)]


def test_numbers_are_records_too() -> None:
    with load(send_all_ways) as loaded:
        run(loaded, send_all_ways, 3)

        assert loaded[numbers].read_batch(limit=1) == [5]
        assert loaded[numbers].poll() == [5, 5]


def test_a_ring_without_programs_is_read_too() -> None:
    with events.load() as alone:
        assert alone.poll() == []
        assert alone.counts == Counts(0, 0, 0, 0)


# --- properties: whatever is sent and however it is read ---

SENT = st.sampled_from(["short", "short", "short", "long", "gap"])
READ = st.sampled_from(["read", "rows", "array", "loop", "two"])
STEPS = st.lists(st.one_of(SENT, READ), max_size=120)
Program = Callable[[], object]


@pytest.fixture(scope="module")
def mixed() -> Iterator[tuple[dict[str, Program], RingReader[Event]]]:
    """Programs that send records of two sizes, or give them up, into one ring."""
    with load([send, discard]) as first:
        ring = first.maps["events"]
        with load(send_long, maps={"long_events": ring}) as second:
            programs: dict[str, Program] = {
                "short": lambda: run(first, send),
                "gap": lambda: run(first, discard),
                "long": lambda: run(second, send_long),
            }
            with RingReader(ring, TypedDecoding(Event.__layout__)) as reader:
                yield programs, reader


def take(reader: RingReader[Any], way: str) -> int:
    """How many records were read."""
    match way:
        case "rows":
            return len(reader.rows())
        case "array":
            return len(reader.array())
        case "loop":
            return len(list(itertools.islice(reader.held(), 3)))
        case "two":
            return len(reader.rows(2))
        case _:
            return len(reader.read())


@given(steps=STEPS)
@settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_records_come_in_order_whatever_lies_between_them(
    mixed: tuple[dict[str, Program], RingReader[Event]], steps: list[str]
) -> None:
    pytest.importorskip("numpy")
    programs, reader = mixed
    reader.read()
    before = reader.counts
    sent = read = 0

    for step in steps:
        if step not in programs:
            read += take(reader, step)
        elif reader.waiting_bytes < BYTES - 64:
            programs[step]()
            sent += step != "gap"
    read += len(reader.rows())

    after = reader.counts
    assert read == sent
    assert after.read - before.read == sent
    assert reader.waiting_bytes == 0


@pytest.mark.host
@given(many=st.lists(st.integers(0, 200), max_size=12))
@settings(
    deadline=None,
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_records_keep_their_content_around_the_end(
    mixed: tuple[dict[str, Program], RingReader[Event]], many: list[int]
) -> None:
    programs, reader = mixed
    reader.read()
    for times in many:
        for _ in range(min(times, 160)):
            programs["short"]()
        rows = reader.rows()

        assert len(rows) == min(times, 160)
        assert all(twice == 2 * number for number, twice in rows)
        assert rows == sorted(rows)


# --- what is counted ---


def test_programs_count_what_finds_the_ring_full(loaded: Loaded) -> None:
    run(loaded, send, 1000)

    kept = len(loaded[events].poll())

    assert loaded[events].dropped == 1000 - kept
    assert loaded[events].counts == Counts(read=kept, discarded=0, lost=0, busy=0)


def test_every_way_of_sending_counts() -> None:
    with load(send_all_ways) as loaded:
        run(loaded, send_all_ways, 1000)
        kept = {ring: len(loaded[ring].poll()) for ring in (emitted, copied)}

        assert loaded[emitted].dropped == 1000 - kept[emitted] > 0
        assert loaded[copied].dropped == 2000 - kept[copied] > 0
        assert loaded[numbers].dropped == 1000 - len(loaded[numbers].poll()) > 0


def test_counting_may_be_left_out() -> None:
    with load(send_all_ways) as loaded:
        run(loaded, send_all_ways, 1000)

        assert len(loaded[uncounted].poll()) < 1000
        assert loaded[uncounted].dropped == 0

    sections = collect(send_all_ways).sections.values()
    names = [variable.name for each in sections for variable in each.variables]
    assert "bw_dropped_uncounted" not in names
    assert "bw_dropped_emitted" in names


def test_what_programs_gave_up_is_counted(loaded: Loaded) -> None:
    run(loaded, discard, 3)
    run(loaded, send)

    assert len(loaded[events].poll()) == 1
    assert loaded[events].counts == Counts(read=1, discarded=3, lost=0, busy=0)


def test_what_a_loop_has_not_given_out_is_not_read_yet(loaded: Loaded) -> None:
    run(loaded, send, 5)

    next(iter(loaded[events]))

    assert loaded[events].counts.read == 1


@pytest.mark.usefixtures("one_cpu")
def test_a_perf_buffer_is_counted_by_programs_and_by_the_kernel() -> None:
    with load(sample) as loaded:
        assert loaded[samples].poll() == loaded[late_samples].poll() == []
        run(loaded, sample, 1000)
        kept = len(loaded[samples].poll())
        run(loaded, sample)

        assert loaded[samples].poll() == [Event(number=1001, twice=2002)]
        assert loaded[samples].dropped == 1000 - kept > 0
        assert loaded[samples].counts.lost == 1000 - kept


@pytest.mark.usefixtures("one_cpu")
def test_a_perf_buffer_has_every_way_of_reading() -> None:
    pytest.importorskip("numpy")
    with load(sample) as loaded:
        ring = loaded[samples]
        ring.poll()
        run(loaded, sample, 4)
        first = list(itertools.islice(ring, 1))
        run(loaded, sample, 4)

        assert first == [Event(number=1, twice=2)]
        assert ring.read_batch(limit=2) == [(2, 4), (3, 6)]
        assert ring.read_batch(numpy=True)["number"].tolist() == [4, 5, 6, 7, 8]
        assert ring.counts.read == 8


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Run on one CPU: each has a perf buffer of its own."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    yield
    os.sched_setaffinity(0, cpus)


# --- deadlines ---


@pytest.fixture
def flooded(loaded: Loaded) -> Iterator[Loaded]:
    """A ring into which a thread sends without end."""
    over = threading.Event()

    def flood() -> None:
        while not over.is_set():
            loaded[send].live.test_run(PACKET, repeat=50)

    sender = threading.Thread(target=flood)
    sender.start()
    yield loaded
    over.set()
    sender.join()


def test_a_reading_ends_however_fast_records_come(flooded: Loaded) -> None:
    # Each takes what was there when it began, of a ring that is filled all the time.
    sizes = [len(flooded[events].read()) for _ in range(20)]

    assert max(sizes) <= BYTES // 24


def test_a_loop_with_a_time_ends_under_load(flooded: Loaded) -> None:
    end = time.monotonic() + 0.2

    seen = list(flooded[events].during(0.2))

    assert seen
    assert time.monotonic() >= end


def test_callbacks_with_a_time_end_under_load(flooded: Loaded) -> None:
    def slow(_: Event) -> None:
        time.sleep(0.02)

    # A run has a quarter of the ring's records, which would take longer.
    assert 0 < flooded[events].consume(slow, timeout=0.1) < BYTES // 24 // 4


def test_a_time_without_records_ends(loaded: Loaded) -> None:
    assert list(loaded[events].during(0.02)) == []
    assert loaded[events].read(timeout=0.001) == []
    assert loaded[events].read_batch(0.001) == []
    assert loaded[events].consume(print, timeout=0) == 0


# --- waking up ---


def test_a_reader_that_is_woken_late_looks_by_itself() -> None:
    with load(send_seldom) as loaded:
        assert loaded[seldom].poll() == []
        sender = threading.Timer(0.02, run, (loaded, send_seldom, 3))
        sender.start()

        found = loaded[seldom].read_batch(timeout=60)
        sender.join()

        assert [number for number, _ in found] == [1, 2, 3]


def test_programs_wake_the_reader_when_enough_waits() -> None:
    with load(send_seldom) as loaded:
        reader = loaded[seldom].reader
        with select.epoll() as waking:
            # Of edges only, for what waits makes it readable from the start.
            waking.register(loaded.maps["seldom"].fd, select.EPOLLIN | select.EPOLLET)
            waking.poll(0)
            run(loaded, send_seldom, 100)
            before = waking.poll(0)
            run(loaded, send_seldom, 100)
            after = waking.poll(60)

        assert before == []
        assert len(after) == 1
        assert len(reader.read()) == 200


@pytest.mark.usefixtures("one_cpu")
def test_a_perf_buffer_may_be_woken_late_as_well() -> None:
    with load(sample) as loaded:
        loaded[late_samples].poll()
        run(loaded, sample, 10)

        assert select.select([loaded[late_samples].reader], [], [], 0)[0] == []
        assert len(loaded[late_samples].read(timeout=60)) == 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"wakeup_bytes": 4096}, "at most half of the buffer, 2048"),
        ({"wakeup_bytes": -1}, "wakeup_bytes=-1"),
        ({"latency": 0}, "a time above zero"),
    ],
)
def test_a_reader_that_would_sleep_on_is_refused(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        RingBuf[Event](size=4096, **options)


def test_ctrl_c_ends_a_loop_and_keeps_the_rest(loaded: Loaded) -> None:
    run(loaded, send, 5)
    seen = []

    for event in loaded[events]:
        seen.append(event.number)
        if event.number == 2:
            signal.raise_signal(signal.SIGINT)

    assert seen == [1, 2]
    assert len(loaded[events].poll()) == 3


# --- asyncio ---


def test_a_task_gets_records_while_others_run(loaded: Loaded) -> None:
    async def main() -> list[int]:
        found: list[int] = []
        async for event in loaded[events]:
            found.append(event.number)
            if len(found) == 3:
                break
            asyncio.get_running_loop().call_later(0.01, run, loaded, send)
        return found

    run(loaded, send)

    assert asyncio.run(main()) == [1, 2, 3]


def test_other_tasks_run_under_load(flooded: Loaded) -> None:
    async def main() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        async for event in flooded[events]:
            if ticks >= 5 and event.number > 100:
                break
        ticking.cancel()
        return ticks

    assert asyncio.run(main()) >= 5


def test_waiting_in_asyncio_has_an_end(loaded: Loaded) -> None:
    async def main() -> tuple[bool, bool]:
        late = await loaded[events].ready(0.01)
        run(loaded, send)
        return late, await loaded[events].ready(0.01)

    assert asyncio.run(main()) == (False, True)
    assert loaded[events].read_batch(0) == [(1, 2)]


def test_a_task_that_is_cancelled_leaves_the_ring_to_others(loaded: Loaded) -> None:
    async def read() -> list[Event]:
        return [event async for event in loaded[events]]

    async def main() -> list[Event]:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read(), 0.05)
        run(loaded, send)
        await loaded[events].ready()
        return loaded[events].poll()

    assert len(asyncio.run(main())) == 1


def test_two_tasks_that_wait_for_one_ring_are_told(loaded: Loaded) -> None:
    async def main() -> None:
        first = asyncio.create_task(loaded[events].ready(5))
        await asyncio.sleep(0.01)
        with pytest.raises(MapError, match="another task awaits these records"):
            await loaded[events].ready(5)
        run(loaded, send)
        assert await first

    asyncio.run(main())


PLAIN = """
import sys
from beewire.bpf import RingBuf, XdpAction, XdpContext, load, u64, xdp
numbers = RingBuf[u64](size=4096)
@xdp
def send(ctx: XdpContext) -> XdpAction:
    numbers.emit(7)
    return XdpAction.PASS
with load(send) as loaded:
    loaded[send].live.test_run(bytes(64))
    print(loaded[numbers].read_batch(1), "asyncio" in sys.modules, "numpy" in sys.modules)
"""


@pytest.mark.host
def test_asyncio_and_numpy_are_imported_for_those_who_use_them(
    python: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "plain.py").write_text(PLAIN)

    told = python(str(tmp_path / "plain.py"))

    assert told.stdout.strip() == "[7] False False", told.stderr
