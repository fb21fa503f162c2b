# ruff: noqa: ARG001 - a program has a context, needed or not
"""Records from Python to programs, through a ring that Python writes."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beewire.bpf import (
    Array,
    Struct,
    UserRingBuf,
    XdpAction,
    XdpContext,
    features,
    load,
    u64,
    xdp,
)
from beewire.bpf.author.loaded import Loaded
from beewire.bpf.object import MapKind
from beewire.errors import EncodingError

pytestmark = pytest.mark.kernel

BYTES = 4096
FIT = BYTES // 24  # records of 16 bytes, with their headers


class Command(Struct):
    number: u64
    value: u64


class Total(Struct):
    sum: u64
    short: u64


commands = UserRingBuf[Command](size=BYTES)
totals = Array[u64](max_entries=3)


def on_command(command: Command | None, total: Total) -> bool:
    if command is None:
        total.short += 1
        return False
    total.sum += command.value
    return False


@xdp
def drain(ctx: XdpContext) -> XdpAction:
    total = Total(sum=0, short=0)
    count = commands.drain(on_command, total)
    if count > 0:
        totals[0] += count
        totals[1] += total.sum
        totals[2] += total.short
    return XdpAction.PASS


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    if not features.map_type(MapKind.USER_RINGBUF):
        pytest.skip("this kernel has no USER_RINGBUF maps")
    with load(drain) as found:
        yield found


@pytest.fixture(autouse=True)
def emptied(loaded: Loaded) -> None:
    drained(loaded)


def drained(loaded: Loaded) -> list[int]:
    """How many records programs found, what they add up to, and how many were short."""
    loaded[totals].update({0: 0, 1: 0, 2: 0})
    loaded[drain].live.test_run(bytes(64))
    return list(loaded[totals].values())


def test_many_records_are_sent_at_once(loaded: Loaded) -> None:
    sent = loaded[commands].send_all(Command(number=n, value=n) for n in range(10))

    assert sent == 10
    assert drained(loaded) == [10, 45, 0]


def test_of_too_many_records_those_that_fit_are_sent(loaded: Loaded) -> None:
    sent = loaded[commands].send_all(Command(number=n, value=1) for n in range(500))

    assert sent == FIT
    assert not loaded[commands].send(Command(number=0, value=1))
    assert drained(loaded) == [FIT, FIT, 0]


def test_a_writer_waits_for_room(loaded: Loaded) -> None:
    loaded[commands].send_all([Command(number=0, value=0)] * FIT)
    drainer = threading.Timer(0.03, loaded[drain].live.test_run, (bytes(64),))
    drainer.start()

    assert loaded[commands].send(Command(number=1, value=1), timeout=60)
    drainer.join()


def test_a_writer_waits_no_longer_than_its_time(loaded: Loaded) -> None:
    loaded[commands].send_all([Command(number=0, value=0)] * FIT)

    assert not loaded[commands].send(Command(number=1, value=1), timeout=0.005)


def test_what_is_discarded_is_not_seen(loaded: Loaded) -> None:
    writer = loaded[commands].writer
    room = writer.reserve(16)
    assert room is not None
    writer.discard()
    loaded[commands].send(Command(number=1, value=5))

    assert drained(loaded) == [1, 5, 0]


def test_a_reserved_record_is_filled_in_place(loaded: Loaded) -> None:
    writer = loaded[commands].writer
    room = writer.reserve(16)
    assert room is not None
    room[:] = Command(number=1, value=7).to_bytes()

    assert writer.submit()
    assert drained(loaded) == [1, 7, 0]


@pytest.mark.parametrize("timeout", [0, 1])
def test_a_record_that_never_fits_is_refused(loaded: Loaded, timeout: float) -> None:
    with pytest.raises(EncodingError, match="the ring has 4096"):
        loaded[commands].writer.reserve(BYTES, timeout)


@pytest.mark.thorough
@given(
    batches=st.lists(
        st.lists(st.integers(0, 40), max_size=20).map(tuple), min_size=1, max_size=20
    )
)
@settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,  # in a guest without KVM
    ],
)
def test_records_of_any_size_arrive_around_the_end(
    loaded: Loaded, batches: list[tuple[int, ...]]
) -> None:
    writer = loaded[commands].writer
    for sizes in batches:
        value = (3).to_bytes(8, "little")
        records = [(bytes(8) + value + bytes(size))[:size] for size in sizes]

        assert writer.submit_all(records) == len(records)

        whole = sum(size >= 16 for size in sizes)
        assert drained(loaded) == [len(sizes), 3 * whole, len(sizes) - whole]
        assert writer.waiting_bytes == 0


@pytest.mark.usefixtures("loaded")
def test_a_writer_goes_with_what_was_loaded() -> None:
    for _ in range(3):
        with load(drain) as loaded:
            assert loaded[commands].send(Command(number=1, value=1))
            assert loaded[commands].writer.waiting_bytes == 24
