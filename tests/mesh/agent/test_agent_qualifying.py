"""What an agent does where its kernel was not judged, or is another by now."""

from pathlib import Path

import pytest

from beewire.mesh.agent import Directories, qualifying
from beewire.mesh.agent.bypassing import Bypassing
from beewire.mesh.agent.qualifying import Qualifying
from beewire.mesh.qualify import (
    HazardClass,
    Outcome,
    Qualification,
    Role,
    Tier,
    Verdict,
    fingerprint,
    write,
)


@pytest.fixture
def directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Directories:
    monkeypatch.setattr(qualifying, "LOOK_S", 0.0)
    return Directories(tmp_path / "pins", tmp_path)


def judged(directories: Directories, **changes: str) -> None:
    verdicts = tuple(
        Verdict("order", HazardClass.A, role, Outcome.PASS, "in order") for role in Role
    )
    known = fingerprint()._replace(**changes)
    write(directories.run, Qualification(known, verdicts))


def test_a_kernel_that_is_another_by_now_is_noticed(directories: Directories) -> None:
    judged(directories)
    bypass = Bypassing(directories)
    agents = Qualifying(directories, bypass, lambda _: None)
    first = agents.look(wanted=False)

    judged(directories, livepatches="other")

    assert first is False
    assert agents.look(wanted=False) is True
    assert bypass.standing().allowed_tiers() == {Tier.OFF}
    assert "live patches" in bypass.standing().reason


def test_verdicts_of_somebody_else_are_noticed(directories: Directories) -> None:
    bypass = Bypassing(directories)
    agents = Qualifying(directories, bypass, lambda _: None)
    before = bypass.standing().allowed_tiers()

    judged(directories)

    assert before == {Tier.OFF}
    assert agents.look(wanted=False) is True
    assert Tier.ALL in bypass.standing().allowed_tiers()
    assert agents.is_running is False


def test_nobody_is_judged_where_nobody_wants_more(directories: Directories) -> None:
    agents = Qualifying(directories, Bypassing(directories), lambda _: None)

    assert agents.look(wanted=False) is False
    assert not agents.is_running


def test_the_battery_runs_in_the_background_and_is_ended_with_the_agent(
    directories: Directories,
) -> None:
    said: list[str] = []
    agents = Qualifying(directories, Bypassing(directories), said.append)

    assert agents.look(wanted=True) is False

    assert agents.is_running
    assert said == [
        "short path: this kernel was not judged yet; judging it in the background"
    ]
    agents.close()
    agents.close()
    assert not agents.is_running
