"""The collector is as it was, whoever pauses it: once, in turns, in threads, in a fork."""

import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from beewire.garbage import Paused

THREADS, TURNS = 4, 2000


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    """On, with nothing young: whatever ran before in this process."""
    assert gc.isenabled(), "a test before left the collector off"
    gc.collect()
    yield
    gc.enable()


class Node:
    """Garbage that only the collector frees."""

    def __init__(self) -> None:
        self.itself = self


def test_it_rests_and_works_again() -> None:
    with Paused():
        resting = not gc.isenabled()

    assert resting
    assert gc.isenabled()


def test_it_works_again_after_an_error() -> None:
    with pytest.raises(KeyError), Paused():
        raise KeyError

    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()

    with Paused():
        pass

    assert not gc.isenabled()


def test_the_outermost_pause_of_a_thread_counts() -> None:
    with Paused():
        with Paused():
            pass
        resting = not gc.isenabled()

    assert resting
    assert gc.isenabled()


def test_pauses_of_threads_that_overlap_leave_it_on() -> None:
    """One begins while the other rests it, and ends after it."""
    first, second = threading.Event(), threading.Event()

    def overlap() -> None:
        with Paused():
            first.set()
            second.wait(60)

    thread = threading.Thread(target=overlap)
    thread.start()
    first.wait(60)
    with Paused():
        second.set()
        thread.join()

    assert gc.isenabled()


def test_no_turn_of_threads_leaves_it_off() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=pause_often) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert gc.isenabled()


def pause_often() -> None:
    for _ in range(TURNS):
        with Paused():
            pass


def in_a_fork(look: Callable[[], bool]) -> bool:
    """Whether `look` holds in a forked child."""
    child = os.fork()
    if child == 0:
        os._exit(0 if look() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_fork_does_not_inherit_another_threads_pause() -> None:
    began, ends = threading.Event(), threading.Event()

    def rest() -> None:
        with Paused():
            began.set()
            ends.wait(60)

    thread = threading.Thread(target=rest)
    thread.start()
    began.wait(60)
    try:
        assert in_a_fork(gc.isenabled)
    finally:
        ends.set()
        thread.join()


def test_a_fork_inherits_its_own_pause() -> None:
    with Paused():
        assert in_a_fork(lambda: not gc.isenabled())


def test_what_was_made_with_modules_is_old_and_still_collected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Paused():
        gone = weakref.ref(Node())
        monkeypatch.setitem(sys.modules, "beewire.made_here", ModuleType("made_here"))

    assert gc.get_freeze_count() == 0
    assert len(gc.get_objects(generation=0)) < 100
    gc.collect()
    assert gone() is None


def test_what_was_made_without_modules_is_young() -> None:
    with Paused():
        gone = weakref.ref(Node())

    gc.collect(0)
    assert gone() is None


def test_what_the_program_froze_stays_frozen() -> None:
    gc.freeze()
    try:
        count = gc.get_freeze_count()
        with Paused():
            pass
        assert gc.get_freeze_count() == count
    finally:
        gc.unfreeze()
