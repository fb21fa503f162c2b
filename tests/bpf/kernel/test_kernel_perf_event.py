import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.kernel import Sampling, attach_perf_event
from beewire.bpf.kernel.links.perf_event import online_cpus, parse_cpus
from beewire.bpf.kernel.links.perf_names import Event, event_names, find_event
from beewire.bpf.object import ProgramKind
from beewire.errors import AttachError, NotSupported

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

MakeCounter = Callable[..., "Counter"]
OFTEN = Sampling(frequency=999)


def work(until: Callable[[], bool]) -> None:
    """Keep a CPU busy until something is so, or a minute is over."""
    deadline = time.monotonic() + 60
    while not until() and time.monotonic() < deadline:
        pass


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("cpu-clock", Event(1, 0)),
        ("context-switches", Event(1, 3)),
        ("cs", Event(1, 3)),
        ("cycles", Event(0, 0)),
        ("branch-misses", Event(0, 5)),
        ("LLC-load-misses", Event(3, 0x10002)),
        ("L1-dcache-stores", Event(3, 0x100)),
        ("r1a8", Event(4, 0x1A8)),
    ],
)
def test_events_have_the_names_of_perf_list(name: str, event: Event) -> None:
    assert find_event(name) == event


def test_every_listed_name_is_found() -> None:
    assert len({find_event(name) for name in event_names()}) == len(event_names())


def test_an_unknown_event_is_refused_with_those_there_are() -> None:
    with pytest.raises(AttachError, match="no perf event 'rhubarb'; there are cpu-clo"):
        find_event("rhubarb")


def test_lists_of_cpus_are_read_as_the_kernel_writes_them() -> None:
    assert parse_cpus("0-2,4,6-7\n") == [0, 1, 2, 4, 6, 7]


@pytest.mark.kernel
@pytest.mark.parametrize("as_link", [True, False])
def test_a_program_runs_at_samples_until_its_link_is_closed(
    counter: MakeCounter, as_link: bool
) -> None:
    count = counter(ProgramKind.PERF_EVENT)

    with attach_perf_event(count.program, "cpu-clock", OFTEN, as_link=as_link) as link:
        work(lambda: count.hits > 3)
        assert link.events == len(online_cpus())
    during = count.hits
    time.sleep(0.05)

    assert during > 3
    assert count.hits == during
    assert link.events == 0


@pytest.mark.kernel
def test_a_thread_is_sampled_alone(counter: MakeCounter) -> None:
    count = counter(ProgramKind.PERF_EVENT)
    asleep = threading.Event()
    thread = threading.Thread(target=asleep.wait)
    thread.start()
    try:
        assert thread.native_id
        stat = Path(f"/proc/self/task/{thread.native_id}/stat")
        work(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S")
        with attach_perf_event(
            count.program, "task-clock", OFTEN, pid=thread.native_id
        ) as link:
            work(iter([False] * 100_000 + [True]).__next__)
            events = link.events
    finally:
        asleep.set()
        thread.join()

    assert count.hits == 0
    assert events == 1


@pytest.mark.kernel
def test_children_are_sampled_where_that_is_wanted(counter: MakeCounter) -> None:
    count = counter(ProgramKind.PERF_EVENT)
    inherit = Sampling(period=1, inherit=True)

    with attach_perf_event(count.program, "page-faults", inherit, pid=os.getpid()):
        before = count.hits
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        after = count.hits

    assert after - before > 100


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("event", "sampling", "where", "message"),
    [
        ("cpu-clock", Sampling(), {}, "frequency=Hz or by period=COUNT"),
        ("cpu-clock", Sampling(1, 1), {}, "give one of them"),
        ("cpu-clock", Sampling(10**9), {}, "frequencies end at"),
        ("cpu-clock", OFTEN, {"pid": 2**30}, "there is no such task"),
        ("cpu-clock", OFTEN, {"cpus": [4095]}, "CPU 4095 is not online"),
        ("cpu-clock", OFTEN, {"cpus": []}, "cpus is empty"),
    ],
)
def test_what_cannot_be_sampled_is_refused(
    counter: MakeCounter,
    event: str,
    sampling: Sampling,
    where: dict[str, int],
    message: str,
) -> None:
    program = counter(ProgramKind.PERF_EVENT).program

    with pytest.raises(AttachError, match=message):
        attach_perf_event(program, event, sampling, **where)  # type: ignore[arg-type]


@pytest.mark.kernel
def test_programs_of_other_kinds_are_refused(counter: MakeCounter) -> None:
    program = counter(ProgramKind.XDP).program

    with pytest.raises(AttachError, match="not for perf events"):
        attach_perf_event(program, "cpu-clock", OFTEN)


@pytest.mark.kernel
def test_nothing_is_left_open_where_one_cpu_fails(counter: MakeCounter) -> None:
    program = counter(ProgramKind.PERF_EVENT).program
    gc.collect()
    before = set(Path("/proc/self/fd").iterdir())

    with pytest.raises(AttachError):
        attach_perf_event(program, "cpu-clock", OFTEN, cpus=[0, 4095])

    assert len(set(Path("/proc/self/fd").iterdir())) == len(before)


@pytest.mark.kernel
def test_a_perf_event_link_says_what_it_cannot_do(counter: MakeCounter) -> None:
    program = counter(ProgramKind.PERF_EVENT).program

    with attach_perf_event(program, "cpu-clock", OFTEN, as_link=False) as link:
        with pytest.raises(NotSupported, match="attach the other program"):
            link.update(program)
        with pytest.raises(NotSupported, match=r"5\.15"):
            link.pin("/nowhere")
