"""Every hazard finds what it is there for, and nothing where all is well."""

import time

import pytest

from beewire.mesh.qualify import HAZARDS, exchange
from beewire.mesh.qualify.stand import Counted, Finding, Leg
from tests.mesh.qualify.broken import FAULTS, Broken, Fault

MEET = {hazard.name: hazard.meet for hazard in HAZARDS}
CARRY = (
    *("order", "equal_counts", "half_close", "close_queued", "nonblocking", "peek"),
    *(
        "missed_edge",
        "counted_edge",
        "first_bytes",
        "handed_on",
        "families",
        "switched_off",
        "detached",
        "bodies",
    ),
)
DATA = ("loses", "repeats", "alters", "swaps", "ends early", "stops")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "WAIT_S", 0.4)


@pytest.mark.parametrize("name", [*CARRY, "equal_tuples", "blocking", "rcvtimeo"])
def test_nothing_is_found_where_all_is_well(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "WAIT_S", 10.0)

    assert MEET[name](Broken(FAULTS["none"])) != ""


@pytest.mark.parametrize("fault", DATA)
@pytest.mark.parametrize("name", CARRY)
def test_bytes_that_arrive_otherwise_are_found(name: str, fault: str) -> None:
    with pytest.raises((Finding, OSError)):
        MEET[name](Broken(FAULTS[fault]))


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to come first has its time on a busy machine."""
    monkeypatch.setattr(exchange, "WAIT_S", 3.0)
    monkeypatch.setattr(exchange, "QUIET_S", 3.0)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("name", ["half_close", "close_queued"])
def test_an_end_that_does_not_come_is_found(name: str) -> None:
    with pytest.raises(Finding, match="no end of the stream"):
        MEET[name](Broken(FAULTS["never ends"]))


def test_a_reset_that_looks_like_a_proper_end_is_found() -> None:
    with pytest.raises(Finding):
        MEET["reset"](Broken(FAULTS["ends properly"]))


@pytest.mark.usefixtures("patient")
def test_a_missing_bound_is_found() -> None:
    with pytest.raises(Finding, match="were accepted for a reader that sleeps"):
        MEET["stalled_reader"](Broken(FAULTS["hoards"]))


def test_another_connections_bytes_are_found() -> None:
    class Crossed(Broken):
        """Its ends have one name, as in two pods."""

        leg = Leg.OUT

    with pytest.raises(Finding):
        MEET["equal_tuples"](Crossed(FAULTS["none"], crossed=True))


def test_bytes_of_the_connection_before_are_found() -> None:
    haunted = Fault(lambda chunk: b"of the one before " + chunk)

    with pytest.raises(Finding):
        MEET["equal_tuples"](Broken(haunted))


@pytest.mark.usefixtures("patient")
def test_bytes_on_the_short_path_after_it_was_off_are_found() -> None:
    class Late(Broken):
        def counted(self) -> Counted:
            return Counted(short=time.monotonic_ns())

    with pytest.raises(Finding, match="took the short path after it was off"):
        MEET["switched_off"](Late(FAULTS["none"]))
