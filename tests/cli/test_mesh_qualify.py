"""`beewire mesh qualify`: what it prints, keeps and leaves behind."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from beewire.mesh.qualify import (
    HAZARDS,
    HazardClass,
    Outcome,
    Qualification,
    Role,
    Verdict,
    fingerprint,
    write,
)

Run = Callable[..., subprocess.CompletedProcess[str]]
PASSES = tuple(
    Verdict("order", HazardClass.A, role, Outcome.PASS, "in order") for role in Role
)
FAILS = PASSES[1]._replace(outcome=Outcome.FAIL, says="byte 7 is lost")
LISTED = PASSES[0]._replace(
    hazard="splice_from", outcome=Outcome.FAIL, says="it waits", unmet="it never does"
)


def keep(directory: Path, *verdicts: Verdict) -> dict[str, str]:
    write(directory, Qualification(fingerprint(), verdicts))
    return {"BEEWIRE_RUN": str(directory)}


def test_list_has_every_hazard_and_needs_no_privilege(beewire: Run) -> None:
    told = beewire("mesh", "qualify", "--list", "--json")

    assert told.returncode == 0
    assert [each["hazard"] for each in json.loads(told.stdout)] == [
        hazard.name for hazard in HAZARDS
    ]


def test_a_hazard_that_there_is_not_is_refused(beewire: Run) -> None:
    told = beewire("mesh", "qualify", "--hazard", "dragons")

    assert told.returncode == 2
    assert "dragons: there is no such hazard; --list has them all" in told.stderr


def test_kept_says_that_nothing_is_known(beewire: Run, tmp_path: Path) -> None:
    told = beewire("mesh", "qualify", "--kept", BEEWIRE_RUN=str(tmp_path))

    assert told.returncode == 1
    assert "this kernel was not judged yet: `beewire mesh qualify` judges it" in (
        told.stdout
    )


def test_kept_shows_what_is_allowed(beewire: Run, tmp_path: Path) -> None:
    told = beewire("mesh", "qualify", "--kept", **keep(tmp_path, *PASSES, LISTED))

    assert told.returncode == 0
    assert "all        yes\n" in told.stdout
    assert "it waits (keeps nobody off: it never does)" in told.stdout
    assert told.stdout.endswith(
        "4 pass, 1 fail, 0 null; 1 of the failures is listed only\n"
    )


def test_kept_says_why_a_tier_is_not_allowed(beewire: Run, tmp_path: Path) -> None:
    told = beewire("mesh", "qualify", "--kept", **keep(tmp_path, PASSES[0], FAILS))

    assert told.returncode == 1
    assert "sidecars   yes\n" in told.stdout
    assert (
        "all        no         order (application) failed: byte 7 is lost"
        in told.stdout
    )


def test_a_kernel_that_lacks_something_says_so_once(
    beewire: Run, tmp_path: Path
) -> None:
    null = [each._replace(outcome=Outcome.NULL, says="no sk_msg") for each in PASSES]
    found = Qualification(fingerprint(), tuple(null), lacking="no sk_msg")
    write(tmp_path, found)

    told = beewire("mesh", "qualify", "--kept", BEEWIRE_RUN=str(tmp_path))

    assert told.returncode == 1
    assert told.stdout.count("no sk_msg") == 1
    assert "off        yes" in told.stdout
    assert "all        no\n" in told.stdout


@pytest.mark.kernel
@pytest.mark.host
def test_some_hazards_are_met_and_nothing_is_kept(beewire: Run, tmp_path: Path) -> None:
    told = beewire(
        *("mesh", "qualify", "--json", "--hazard", "peek", "--hazard", "oob"),
        BEEWIRE_RUN=str(tmp_path),
    )

    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert {each["hazard"] for each in found["verdicts"]} == {"peek", "oob"}
    assert all(each["short_bytes"] for each in found["verdicts"])
    assert list(tmp_path.iterdir()) == []
