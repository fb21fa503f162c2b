"""Which tiers verdicts allow, and how long verdicts hold."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.errors import MeshError
from beewire.mesh.qualify import (
    HazardClass,
    Outcome,
    Qualification,
    Role,
    Tier,
    Verdict,
    fingerprint,
    read,
    write,
)

verdicts = st.builds(
    Verdict,
    hazard=st.sampled_from(("order", "splice", "oob")),
    hazard_class=st.sampled_from(HazardClass),
    role=st.sampled_from(Role),
    outcome=st.sampled_from(Outcome),
    says=st.text(min_size=1, max_size=20),
    unmet=st.sampled_from(("", "it never splices")),
    short_bytes=st.integers(0, 1 << 40),
    tcp_bytes=st.integers(0, 1 << 40),
    seconds=st.floats(0, 1000),
    trace=st.text(max_size=20),
)
qualifications = st.builds(
    Qualification,
    fingerprint=st.just(fingerprint()),
    verdicts=st.lists(verdicts, max_size=6).map(tuple),
    lacking=st.sampled_from(("", "this kernel lacks it")),
    taken_at=st.floats(0, 1 << 40),
    seconds=st.floats(0, 1000),
)


def passed(role: Role, outcome: Outcome = Outcome.PASS, *, b: bool = False) -> Verdict:
    kind = HazardClass.B if b else HazardClass.A
    return Verdict("order", kind, role, outcome, "so it was")


def judged(*found: Verdict, lacking: str = "") -> Qualification:
    return Qualification(fingerprint(), found, lacking)


EVERY = tuple(map(passed, Role))


def test_where_every_hazard_passes_every_tier_is_allowed() -> None:
    assert judged(*EVERY).allowed_tiers() == set(Tier)


@pytest.mark.parametrize(
    ("role", "left"),
    [
        (Role.SIDECAR, {Tier.OFF, Tier.SPLICE}),
        (Role.APPLICATION, {Tier.OFF, Tier.SIDECARS, Tier.AUTO}),
        (Role.SHORTCUT, set(Tier) - {Tier.SHORTCUT}),
        (Role.SPLICE, set(Tier) - {Tier.SPLICE}),
    ],
)
def test_a_failure_of_class_a_takes_every_tier_with_such_sockets(
    role: Role, left: set[Tier]
) -> None:
    found = judged(*EVERY, passed(role, Outcome.FAIL))

    assert found.allowed_tiers() == left
    for tier in set(Tier) - left:
        assert found.why_not(tier) == f"order ({role}) failed: so it was"


def test_class_b_and_what_is_null_take_none() -> None:
    found = judged(
        *EVERY,
        passed(Role.SIDECAR, Outcome.FAIL, b=True),
        passed(Role.SIDECAR, Outcome.NULL),
    )

    assert found.allowed_tiers() == set(Tier)


def test_a_role_that_was_not_judged_is_not_allowed() -> None:
    found = judged(passed(Role.SIDECAR), passed(Role.APPLICATION))

    assert "the application's sockets" in judged(EVERY[0]).why_not(Tier.ALL)
    assert "connections by splice" in found.why_not(Tier.SPLICE)
    assert found.allowed_tiers() == set(Tier) - {Tier.SHORTCUT, Tier.SPLICE}


def test_a_kernel_that_lacks_something_has_no_tier() -> None:
    assert judged(*EVERY, lacking="no sk_msg").allowed_tiers() == {Tier.OFF}


@given(qualifications, st.sampled_from(Tier))
def test_a_tier_is_allowed_exactly_where_nothing_is_said_against_it(
    found: Qualification, tier: Tier
) -> None:
    assert (tier in found.allowed_tiers()) == (found.why_not(tier) == "")


@given(qualifications, verdicts)
def test_one_more_verdict_of_a_judged_role_never_allows_more(
    found: Qualification, one: Verdict
) -> None:
    if one.role not in {each.role for each in found.verdicts}:
        return

    more = found._replace(verdicts=(*found.verdicts, one))

    assert more.allowed_tiers() <= found.allowed_tiers()


@given(qualifications)
def test_what_is_kept_is_what_was_found(found: Qualification) -> None:
    told = json.loads(json.dumps(found.to_json()))

    assert Qualification.from_json(told) == found


def test_a_kernel_that_was_not_judged_has_no_tier_and_says_why(tmp_path: Path) -> None:
    standing = read(tmp_path)

    assert standing.allowed_tiers() == {Tier.OFF}
    assert "was not judged yet" in standing.why_not(Tier.SIDECARS)
    assert standing.why_not(Tier.OFF) == ""


def test_verdicts_hold_for_this_kernel(tmp_path: Path) -> None:
    write(tmp_path, judged(*EVERY))

    standing = read(tmp_path)

    assert standing.is_current
    assert standing.allowed_tiers() == set(Tier)


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("release", "the kernel was another and is"),
        ("build", "was built anew"),
        ("boot", "was started anew"),
        ("livepatches", "live patches were another"),
        ("programs", "programs have changed"),
    ],
)
def test_verdicts_end_with_what_they_were_for(
    tmp_path: Path, field: str, says: str
) -> None:
    before = fingerprint()._replace(**{field: "another"})
    write(tmp_path, judged(*EVERY)._replace(fingerprint=before))

    standing = read(tmp_path)

    assert standing.allowed_tiers() == {Tier.OFF}
    assert says in standing.why_not(Tier.SIDECARS)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"verdicts": [{}]}', "\0"])
def test_a_broken_file_allows_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "qualify.json").write_text(text)

    standing = read(tmp_path)

    assert standing.allowed_tiers() == {Tier.OFF}
    assert "cannot be read" in standing.why_not(Tier.AUTO)


def test_what_cannot_be_kept_is_told(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="cannot be kept"):
        write(tmp_path / "nowhere", judged(*EVERY))
