"""Stacks that real programs took, as frames."""

import os
import time
from collections.abc import Callable

import pytest

from beewire.bpf import (
    Const,
    HashMap,
    PerfEvent,
    RingBuf,
    StackBuildIds,
    StackTrace,
    Struct,
    array,
    current_tgid,
    helpers,
    i32,
    i64,
    load,
    perf_event,
    u32,
    u64,
)
from beewire.bpf.kernel.features import helper
from beewire.bpf.object import ProgramKind
from beewire.errors import AttachError
from beewire.symbols import Symbolizer

pytestmark = pytest.mark.kernel

USER_STACK = 1 << 8

mine = Const(u32)
stacks = StackTrace(max_entries=1024, depth=16)
places = StackBuildIds(max_entries=1024, depth=16)
by_address = HashMap[i32, u64](max_entries=1024)
by_place = HashMap[i32, u64](max_entries=1024)


class Taken(Struct):
    size: i64
    frames: list[int] = array(u64, 16)


taken = RingBuf[Taken](size=1 << 18, count_dropped=False)


@perf_event
def note(ctx: PerfEvent) -> None:
    if current_tgid() == mine.value:
        by_address[i32(stacks.stack_id(ctx, user=True))] += 1
        by_place[i32(places.stack_id(ctx, user=True))] += 1


@perf_event
def send(ctx: PerfEvent) -> None:
    if current_tgid() != mine.value:
        return
    with taken.reserve() as record:
        if record is not None:
            record.size = helpers.get_stack(ctx, record.frames, 8 * 16, USER_STACK)


@perf_event
def cookie(ctx: PerfEvent) -> None:
    by_address[i32(helpers.get_attach_cookie(ctx))] += 1


def work(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done() and time.monotonic() < end:
        sorted(range(2000))


@pytest.fixture
def symbols() -> Symbolizer:
    return Symbolizer()


def test_stacks_of_this_process_have_frames_of_its_interpreter(
    symbols: Symbolizer,
) -> None:
    with load(note, globals={"mine": os.getpid()}) as loaded:
        with loaded[note].attach("task-clock", frequency=997, pid=os.getpid()):
            work(lambda: len(loaded[by_address]) > 5)
        numbers = [number for number in loaded[by_address] if number >= 0]
        found = {
            frame
            for number in numbers
            for frame in symbols.user_stack(os.getpid(), loaded[stacks][number])
        }

    assert any(frame.name and "python" in frame.module for frame in found)


def test_places_in_files_have_the_same_names(symbols: Symbolizer) -> None:
    symbols.process(os.getpid()).hold()

    with load(note, globals={"mine": os.getpid()}) as loaded:
        with loaded[note].attach("task-clock", frequency=997, pid=os.getpid()):
            work(lambda: len(loaded[by_place]) > 5)
        numbers = [number for number in loaded[by_place] if number >= 0]
        frames = [place for number in numbers for place in loaded[places][number]]

    named = [symbols.place(*place) for place in frames if place.build_id]
    assert any(frame.name and "python" in frame.module for frame in named)


def test_a_stack_is_sent_as_it_is(symbols: Symbolizer) -> None:
    with load(send, globals={"mine": os.getpid()}) as loaded:
        with loaded[send].attach("task-clock", frequency=997, pid=os.getpid()):
            work(lambda: loaded[taken].reader.waiting_bytes > 0)
        records = loaded[taken].read(timeout=60)

    first = next(record for record in records if record.size > 0)
    frames = symbols.user_stack(os.getpid(), first.frames[: first.size // 8])
    assert frames[0].module


def test_a_cookie_is_what_the_program_is_told() -> None:
    if not helper("get_attach_cookie", ProgramKind.PERF_EVENT):
        pytest.skip("perf events have no cookies here")
    with load(cookie) as loaded:
        with loaded[cookie].attach("cpu-clock", frequency=997, cookie=4711):
            work(lambda: len(loaded[by_address]) > 0)

        assert list(loaded[by_address]) == [4711]


def test_an_unknown_event_is_refused_by_the_declared_program() -> None:
    with load(note) as loaded, pytest.raises(AttachError, match="no perf event"):
        loaded[note].attach("rhubarb", frequency=1)
