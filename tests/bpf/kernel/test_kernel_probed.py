"""The running kernel as a target: asked once, and only what is asked."""

import pytest

from beewire.bpf.kernel import features, running, syscall
from beewire.bpf.kernel.probed import Running
from beewire.bpf.object import FEATURES

pytestmark = pytest.mark.kernel


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The commands that bpf(2) gets."""
    seen: list[int] = []
    asked = syscall.try_bpf

    def count(cmd: int, record: bytearray, size: int = 0) -> int:
        seen.append(cmd)
        return asked(cmd, record, size)

    monkeypatch.setattr(syscall, "try_bpf", count)
    return seen


def test_a_question_is_asked_once(loads: list[int]) -> None:
    target = Running()

    answers = [target.has("may_goto") for _ in range(3)]

    assert len(set(answers)) == 1
    assert loads == [syscall.Cmd.PROG_LOAD]


def test_nothing_is_asked_that_follows(loads: list[int]) -> None:
    target = Running()

    assert target.at_least(3)
    assert target.at_least(2)
    assert target.at_least(1)
    assert len(loads) == 1


@pytest.mark.parametrize("name", FEATURES)
def test_the_target_and_the_doctor_agree(name: str) -> None:
    assert running().has(name) == features.of_target(name).available


def test_an_unprivileged_process_gets_the_portable_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(syscall, "try_bpf", lambda *_: -1)
    target = Running()

    assert target.at_least(3)
    assert not target.at_least(4)
    assert target.has("bpf_loop")
    assert not target.has("may_goto")
