"""What threads, tasks and processes may share: docs/reference/threads.md says it."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from beewire.bpf import (
    HashMap,
    PerCpuArray,
    RingBuf,
    Struct,
    Tracepoint,
    XdpAction,
    XdpContext,
    load,
    tracepoint,
    u32,
    u64,
    xdp,
)
from beewire.bpf.author.collection import collect
from beewire.bpf.author.home import implicit
from beewire.bpf.object import write
from tests.systems import descriptors, descriptors_before

pytestmark = [pytest.mark.kernel, pytest.mark.host]

THREADS = 8


class Event(Struct):
    length: u32


seen = HashMap[u32, u64](max_entries=4096)
events = RingBuf[Event](size=1 << 14)
runs = PerCpuArray[u64](max_entries=1)


@xdp
def on_packet(ctx: XdpContext) -> XdpAction:
    runs[0] += 1
    events.emit(Event(length=ctx.length))
    return XdpAction.PASS


@tracepoint("sched:sched_process_exec")
def on_exec(_: Tracepoint) -> None:
    seen[1] = 1


@tracepoint("sched:sched_process_exec")
def loaded_once(_: Tracepoint) -> None:
    seen[2] = 1


PACKET = bytes(64)


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """Threads take turns all the time, so that what can go wrong does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(action: Callable[[int], None], count: int = THREADS) -> None:
    """Do `action` in several threads that start together, and raise what they raised."""
    barrier = threading.Barrier(count)
    errors: list[BaseException] = []

    def body(number: int) -> None:
        try:
            barrier.wait()
            action(number)
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=body, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def test_a_map_is_shared_by_threads() -> None:
    with load(on_exec) as loaded:
        table = loaded[seen]

        def use(number: int) -> None:
            for step in range(200):
                key = number << 16 | step
                table[key] = step
                assert table[key] == step
                if step % 2:
                    del table[key]
                elif step % 50 == 0:
                    assert all(value < 200 for value in table.to_dict().values())

        at_once(use)

        assert dict(table) == {
            number << 16 | step: step
            for number in range(THREADS)
            for step in range(0, 200, 2)
        }


def test_objects_are_compiled_and_loaded_by_threads() -> None:
    expected = write(collect(on_exec))

    def use(_: int) -> None:
        assert write(collect(on_exec)) == expected
        with load(on_exec) as loaded:
            loaded[seen][1] = 1

    at_once(use)


def test_threads_attach_and_detach_at_once() -> None:
    with load(on_exec) as loaded:

        def use(_number: int) -> None:
            for _ in range(2):
                with load(on_exec) as own, own[on_exec].attach():
                    assert len(loaded[seen]) == 0

        at_once(use, 4)


def test_what_attach_loads_by_itself_is_loaded_once() -> None:
    programs: list[int] = []

    def use(_: int) -> None:
        programs.append(implicit().program(loaded_once).info().id)

    at_once(use)

    assert len(programs) == THREADS
    assert len(set(programs)) == 1
    assert [part.name for part in implicit().parts].count("loaded_once") == 1


def test_a_ring_has_one_reader_however_many_threads_ask() -> None:
    with load(on_packet) as loaded:
        before = len(descriptors_before())

        def use(_: int) -> None:
            loaded[events].poll()

        at_once(use)

        assert len(descriptors()) == before + 3  # an epoll, and two mappings


def test_one_thread_reads_while_others_run_programs_and_read_maps() -> None:
    with load(on_packet) as loaded:
        got: list[Event] = []

        def use(number: int) -> None:
            if number == 0:
                end = time.monotonic() + 100
                while len(got) < (THREADS - 1) * 50 and time.monotonic() < end:
                    got.extend(loaded[events].read(timeout=0.1))
            else:
                for _ in range(50):
                    loaded[on_packet].live.test_run(PACKET)
                    assert loaded[runs][0].sum() >= 1

        at_once(use)

        assert {event.length for event in got} == {len(PACKET)}
        assert loaded[runs][0].sum() == len(got) == (THREADS - 1) * 50
        assert loaded[events].dropped == 0


def test_a_link_is_closed_once_by_many_threads() -> None:
    with load(on_exec) as loaded:
        before = descriptors_before()
        link = loaded[on_exec].attach()

        at_once(lambda _: link.close())

        assert descriptors() == before


def test_tasks_read_and_share_maps() -> None:
    async def body() -> int:
        with load(on_packet) as loaded:

            async def call() -> None:
                for _ in range(20):
                    await asyncio.to_thread(loaded[on_packet].live.test_run, PACKET)

            caller = asyncio.create_task(call())
            count = 0
            async for _ in loaded[events]:
                count += 1
                if count == 20:
                    break
            await caller
            return int(loaded[runs][0].sum())

    assert asyncio.run(body()) == 20


def child(action: Callable[[], object]) -> int:
    """The exit code of a child that does `action`; 1 if it raises."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_shares_maps_and_leaves_links_as_they_are() -> None:
    with load(on_exec) as loaded, loaded[on_exec].attach() as link:

        def use() -> None:
            loaded[seen][7] = 8
            link.close()

        assert child(use) == 0

        assert loaded[seen][7] == 8
        subprocess.run(["true"], check=True)
        assert loaded[seen][1] == 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_can_load_although_a_thread_was_loading() -> None:
    home = implicit()
    with home._loading, home._lock:
        code = child(lambda: home.program(on_exec))

    assert code == 0
