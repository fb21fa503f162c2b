"""The endurance of the short path, for a moment: it runs, it counts, and it ends."""

import pytest

from beewire.errors import MeshError
from beewire.mesh.agent import Directories
from beewire.mesh.qualify import (
    HazardClass,
    Outcome,
    Qualification,
    Role,
    Verdict,
    fingerprint,
    write,
)
from beewire.mesh.trial.endurance import (
    TIERS,
    Compared,
    board,
    compare,
    endurance_rig,
    give,
)
from beewire.mesh.trial.soak import Soak, growth

pytestmark = [pytest.mark.kernel, pytest.mark.thorough]


def qualify(directories: Directories) -> None:
    judged = tuple(
        Verdict("order", HazardClass.A, role, Outcome.PASS, "in order") for role in Role
    )
    write(directories.run, Qualification(fingerprint(), judged))


def test_a_tier_that_the_kernel_did_not_qualify_for_is_told() -> None:
    with endurance_rig() as rig:
        assert give(rig, TIERS["all"]).startswith("not all: this kernel was not judged")


def test_requests_of_a_tier_are_compared() -> None:
    heard: list[Compared] = []
    with endurance_rig() as rig:
        qualify(rig.directories)
        assert give(rig, TIERS["all"]) == ""

        found = compare(rig, TIERS["all"], 3000, heard.append)

    assert found.requests == 3000
    assert (found.errors, found.mismatched) == (0, 0)
    assert found.bytes > 0
    assert found.on_tier > 0
    assert found.short_messages > 0
    assert heard[-1] == found


def test_a_soak_loses_nothing_and_leaves_nothing() -> None:
    with endurance_rig() as rig, board() as counts:
        qualify(rig.directories)
        soak = Soak(rig, counts)

        soak.run(15, lambda *_: None)

        found = soak.found()
        assert found.requests > 0
        assert found.streams > 0
        assert found.changes
        assert (found.lost, found.mismatched, found.leaked) == (0, 0, 0)


def test_growth_is_the_last_quarter_less_the_second() -> None:
    samples = [{"mb": float(each)} for each in range(8)]

    assert growth(samples) == {"mb": 4.0}
    assert growth(samples[:3]) == {}


def test_an_asker_that_ends_is_no_result() -> None:
    with endurance_rig() as rig:
        rig.sidecars["b"].stop()

        with pytest.raises(MeshError, match="Envoy in pod b was killed"):
            compare(rig, TIERS["all"], 1000, lambda _: None)
