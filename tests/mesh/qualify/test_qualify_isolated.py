"""Something dangerous in a process of its own: whatever it does, there is a result."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from beewire.mesh.qualify import Outcome, isolated
from beewire.mesh.qualify.isolated import Act, Line, Result
from beewire.mesh.qualify.stand import Counted, Finding, Impossible

LIMIT_S = 3.0  # enough to come to where it hangs


def acts(meet: Callable[[Line], str]) -> Act:
    return lambda line: ((lambda: meet(line)), lambda: Counted(3, 4))


def result(meet: Callable[[Line], str], limit_s: float = 120.0) -> Result:
    return isolated.run(acts(meet), limit_s=limit_s, serve=lambda _: None)


def raising(error: Exception) -> Callable[[Line], str]:
    def meet(_: Line) -> str:
        raise error

    return meet


def test_what_passes_says_what_was_seen_and_counted() -> None:
    found = result(lambda _: "all is well")

    assert (found.outcome, found.says) == (Outcome.PASS, "all is well")
    assert found.counted == Counted(3, 4)


@pytest.mark.parametrize(
    ("error", "outcome", "says"),
    [
        (Finding("byte 7 is lost"), Outcome.FAIL, "byte 7 is lost"),
        (Impossible("no such sockets"), Outcome.NULL, "no such sockets"),
        (OSError(14, "Bad address"), Outcome.FAIL, "[Errno 14] Bad address"),
        (ValueError(), Outcome.FAIL, "ValueError"),
    ],
)
def test_what_is_raised_becomes_a_result(
    error: Exception, outcome: Outcome, says: str
) -> None:
    found = result(raising(error))

    assert found.outcome is outcome
    assert says in found.says
    assert found.counted == Counted(3, 4)


def test_a_hang_is_a_finding_that_names_the_step() -> None:
    def hang(line: Line) -> str:
        line.step("wait for what does not come")
        time.sleep(600)
        return ""

    found = result(hang, limit_s=LIMIT_S)

    assert found.outcome is Outcome.FAIL
    assert (
        found.says == f"it hangs: after {LIMIT_S:g} s, at: wait for what does not come"
    )


def test_a_death_is_a_finding() -> None:
    def die(line: Line) -> str:
        line.step("fall over")
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    assert result(die).says == "its process died, at: fall over"


def test_what_it_started_ends_with_it() -> None:
    def start(line: Line) -> str:
        child = os.fork()
        if child == 0:
            time.sleep(600)
            os._exit(0)
        line.step(str(child))
        time.sleep(600)
        return ""

    child = int(result(start, limit_s=LIMIT_S).says.split()[-1])

    deadline = time.monotonic() + 60
    while is_alive(child):
        assert time.monotonic() < deadline, f"{child} lives"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - it is /proc
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_parent_does_what_it_is_asked_for_before_it_goes_on() -> None:
    asked: list[str] = []

    def ask(line: Line) -> str:
        line.ask("detach")
        return "detached"

    found = isolated.run(acts(ask), limit_s=120.0, serve=asked.append)

    assert (found.says, asked) == ("detached", ["detach"])
