"""The battery on the running kernel; `make test-kernels` runs it under each."""

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from beewire.mesh.enrol import Node
from beewire.mesh.lab.cgroups import mount_point
from beewire.mesh.lab.namespaces import DIRECTORY as NAMESPACES
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.qualify import HAZARDS, Outcome, Role, exchange
from beewire.mesh.qualify.battery import judge, twin
from beewire.mesh.qualify.enrolled import Enrolled, Lacking
from beewire.mesh.qualify.ground import Ground

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]

PAGE = Path(__file__).parents[3] / "docs" / "mesh" / "qualify.md"
BY_NAME = {hazard.name: hazard for hazard in HAZARDS}
NEVER = 1 << 62


def documented() -> dict[tuple[str, str], str]:
    """What the page says of this kernel, by hazard and role; nothing of others."""
    text = PAGE.read_text()
    heading = re.search(r"^\| hazard \| socket \|(.*)\|$", text, re.MULTILINE)
    assert heading is not None
    kernels = [cell.strip() for cell in heading[1].split("|")]
    series = ".".join(os.uname().release.split(".")[:2])
    if series not in kernels:
        return {}
    column = kernels.index(series)
    rows = re.findall(
        r"^\| `(\w+)` \| (sidecar|application|shortcut|splice) \|(.*)\|$",
        text,
        re.MULTILINE,
    )
    return {
        (name, role): cells.split("|")[column].strip() for name, role, cells in rows
    }


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with Ground() as made:
        yield made


@pytest.fixture(scope="module")
def programs(ground: Ground) -> Iterator[Enrolled]:
    try:
        with Enrolled(ground) as made:
            yield made
    except Lacking as lacking:
        pytest.skip(str(lacking))


@pytest.mark.parametrize("name", BY_NAME)
def test_what_this_kernel_does_is_what_the_page_says(
    ground: Ground, programs: Enrolled, name: str
) -> None:
    told = documented()
    verdicts = judge(ground, programs, BY_NAME[name])

    for verdict in verdicts:
        # What else this kernel was built with is not its page's.
        if verdict.outcome is not Outcome.NULL:
            says = told.get((name, verdict.role), Outcome.PASS)
            assert (verdict.outcome, verdict.role) == (says, verdict.role), verdict.says
        assert not verdict.binds or (name, verdict.role) in told, verdict.says
    if all(verdict.outcome is Outcome.NULL for verdict in verdicts):
        pytest.skip(verdicts[0].says)


def test_without_a_bound_the_battery_finds_the_stalled_reader(
    ground: Ground, programs: Enrolled
) -> None:
    verdicts = twin(ground, programs, BY_NAME["stalled_reader"])

    assert [verdict.outcome for verdict in verdicts] == [Outcome.PASS] * len(Role)


def test_without_being_told_again_who_has_missed_an_edge_waits_for_ever(
    ground: Ground, programs: Enrolled, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.detach()
    monkeypatch.setattr(Node, "load", partial(Node.load, overdue=NEVER))
    monkeypatch.setattr(exchange, "WAIT_S", 3.0 * PATIENCE)

    with Enrolled(ground) as silent:
        verdicts = judge(ground, silent, BY_NAME["missed_edge"])

    told = {verdict.role: verdict.says for verdict in verdicts if verdict.binds}
    assert set(told) == set(Role) - {Role.SIDECAR}
    assert all("waits for ever" in says for says in told.values())


@pytest.mark.host
def test_nothing_is_left_of_the_ground() -> None:
    with Ground() as made:
        name = made.name
        assert (mount_point() / name).is_dir()

    assert not (mount_point() / name).exists()
    assert not list(NAMESPACES.glob(f"{name}*"))
