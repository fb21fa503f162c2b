"""What a pod gets of the short path: what it asks for, as far as the kernel qualified."""

import pytest

from beewire.mesh.agent.tiers import tiering
from beewire.mesh.config import Bypass, PodConfig
from beewire.mesh.qualify import (
    HazardClass,
    Outcome,
    Qualification,
    Role,
    Standing,
    Verdict,
    fingerprint,
)

UNJUDGED = Standing(None, "this kernel was not judged yet: run it")


def verdict(role: Role, outcome: Outcome) -> Verdict:
    return Verdict("stalled_reader", HazardClass.A, role, outcome, "it took 1 GB")


def standing(**outcomes: Outcome) -> Standing:
    judged = [verdict(role, outcomes.get(role, Outcome.PASS)) for role in Role]
    return Standing(Qualification(fingerprint(), tuple(judged)))


GOOD = standing()
SIDECARS_ONLY = standing(application=Outcome.FAIL)
NOTHING = standing(application=Outcome.FAIL, sidecar=Outcome.FAIL)


@pytest.mark.parametrize(
    ("asked", "known", "tier"),
    [
        (None, GOOD, Bypass.SIDECARS),
        (None, UNJUDGED, Bypass.OFF),
        (Bypass.OFF, GOOD, Bypass.OFF),
        (Bypass.ALL, GOOD, Bypass.ALL),
        (Bypass.ALL, SIDECARS_ONLY, Bypass.SIDECARS),
        (Bypass.ALL, NOTHING, Bypass.OFF),
        (Bypass.AUTO, SIDECARS_ONLY, Bypass.AUTO),
        (Bypass.AUTO, NOTHING, Bypass.OFF),
        (Bypass.SIDECARS, UNJUDGED, Bypass.OFF),
    ],
)
def test_a_pod_gets_what_the_kernel_qualified_for(
    asked: Bypass | None, known: Standing, tier: Bypass
) -> None:
    found = tiering(PodConfig(bypass=asked), known)

    wanted = asked or Bypass.SIDECARS
    assert found.tier is tier
    assert bool(found.why) is (tier is not wanted)


def test_the_reason_names_the_hazard_and_what_was_seen() -> None:
    found = tiering(PodConfig(bypass=Bypass.ALL), SIDECARS_ONLY)

    (why,) = found.why
    assert why == "not all: stalled_reader (application) failed: it took 1 GB"
    assert str(found) == f"short path: sidecars; {why}"


def test_what_is_switched_off_is_off_whatever_the_kernel_can() -> None:
    config = PodConfig(bypass=Bypass.ALL, shortcut=True)

    found = tiering(config, GOOD, "switched off by hand")

    assert found.bound(config) == PodConfig(bypass=Bypass.OFF)
    assert found.why == ("switched off by hand",)


def test_who_asks_for_nothing_has_no_reason_to_be_told() -> None:
    assert tiering(PodConfig(bypass=Bypass.OFF), UNJUDGED, "off").why == ()


def test_a_shortcut_needs_its_own_verdict() -> None:
    config = PodConfig(bypass=Bypass.SIDECARS, shortcut=True, splice=True)

    allowed, refused = tiering(config, GOOD), tiering(config, SIDECARS_ONLY)

    assert (allowed.shortcut, allowed.splice, allowed.why) == (True, True, ())
    assert (refused.shortcut, refused.splice) == (False, False)
    assert len(refused.why) == 2


@pytest.mark.parametrize("kind", ["shortcut", "splice"])
def test_each_way_past_a_sidecar_has_connections_of_its_own_to_be_judged(
    kind: str,
) -> None:
    config = PodConfig(bypass=Bypass.ALL, shortcut=True, splice=True)

    found = tiering(config, standing(**{kind: Outcome.FAIL}))

    assert (found.tier, found.shortcut, found.splice) == (
        Bypass.ALL,
        kind != "shortcut",
        kind != "splice",
    )
    assert found.why == (f"no {kind}: stalled_reader ({kind}) failed: it took 1 GB",)
