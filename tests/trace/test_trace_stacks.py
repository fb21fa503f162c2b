import os

import pytest

from beewire.symbols import Frame, Symbolizer
from beewire.trace.profile import (
    Options,
    Recording,
    Sample,
    Stack,
    folded,
    resolve,
)

APP = Frame("app", "", "process")
MAIN = Frame("main", "app", "user")
READ = Frame("vfs_read", "", "kernel")
JIT = Frame("py::f;g", "[jit]", "jit")
NAMELESS = Frame("", "libfoo.so", "unknown")


def recording(*samples: Sample) -> Recording:
    return Recording(list(samples), Options(), 1.0, 0)


def sample(user: list[int], **more: bool) -> Sample:
    return Sample(os.getpid(), "app", "app", 1, [], user, **more)


def test_folded_stacks_say_what_is_the_kernels_and_what_a_compilers() -> None:
    stacks: dict[Stack, int] = {
        (APP, MAIN, READ): 3,
        (APP, JIT): 2,
        (APP, NAMELESS): 1,
    }

    assert folded(stacks) == (
        "app;[libfoo.so] 1\napp;main;vfs_read_[k] 3\napp;py::f:g_[j] 2\n"
    )


def test_folded_values_are_given_in_a_unit_and_nothing_is_left_out_otherwise() -> None:
    stacks: dict[Stack, int] = {(APP, MAIN): 2600, (APP, READ): 400}

    assert folded(stacks, 1000) == "app;main 3\n"


def test_stacks_that_read_the_same_are_one() -> None:
    with Symbolizer() as symbols:
        profile = resolve(recording(sample([]), sample([])), symbols)

    assert profile.stacks == {(APP,): 2}


def test_a_thread_stands_under_its_process() -> None:
    thread = Sample(os.getpid(), "app", "worker", 1, [], [])

    with Symbolizer() as symbols:
        profile = resolve(recording(thread), symbols)

    assert list(profile.stacks) == [(APP, Frame("worker", "", "thread"))]


def test_what_is_no_code_ends_a_stack_and_is_told() -> None:
    with Symbolizer() as symbols:
        profile = resolve(recording(sample([0x10, 0x20])), symbols)

    assert profile.stacks == {(APP,): 1}
    assert profile.wholeness.early == {"[unknown]": 1}


def test_a_stack_of_as_many_frames_as_are_taken_is_deep() -> None:
    with Symbolizer() as symbols:
        profile = resolve(recording(sample([0x10] * 127)), symbols)

    assert profile.wholeness.deep == 1
    assert profile.wholeness.early == {}


@pytest.mark.parametrize("lost", [{"user_lost": True}, {"kernel_lost": True}])
def test_stacks_without_a_place_are_counted_and_shown(lost: dict[str, bool]) -> None:
    with Symbolizer() as symbols:
        profile = resolve(recording(sample([], **lost)), symbols)

    assert profile.wholeness.lost == 1
    assert [stack[-1].label for stack in profile.stacks] == ["[stack lost]"]


def test_a_process_that_nobody_saw_is_counted() -> None:
    gone = Sample(2**22 + 1, "", "gone", 1, [], [0x1000])

    with Symbolizer() as symbols:
        profile = resolve(recording(gone), symbols)

    assert profile.wholeness.unseen == 1
