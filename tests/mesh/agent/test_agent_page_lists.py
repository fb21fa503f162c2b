"""What is done about a machine whose CPUs keep long lists of free pages."""

import os
from pathlib import Path

import pytest

from beewire.errors import MeshError
from beewire.mesh.agent.page_lists import PageLists

GROWS = """\
Node 0, zone   Normal
    cpu: 0
              count:    9832
              high:     10081
              batch:    63
              high_min: 10081
              high_max: {}
    cpu: 1
              count:    31
              high:     40
              batch:    63
              high_min: 10081
              high_max: 50
"""
BEFORE_THEY_GREW = """\
Node 0, zone   Normal
    cpu: 0
              count:    9832
              high:     1008100
              batch:    63
"""
LONG = GROWS.format((1 << 30) // os.sysconf("SC_PAGE_SIZE"))
ALL_SHORT = (GROWS.format(337), BEFORE_THEY_GREW, "")


@pytest.fixture
def lists(tmp_path: Path) -> PageLists:
    """Of a machine that has long ones, about which nobody has said anything."""
    found = PageLists(tmp_path / "zoneinfo", tmp_path / "fraction")
    found.zones.write_text(LONG)
    found.fraction.write_text("0\n")
    return found


def test_lists_that_may_outgrow_caches_are_told_of(lists: PageLists) -> None:
    (told,) = lists.advice()

    assert "may grow to 1,024 MB here" in told
    assert "`sysctl -w vm.percpu_pagelist_high_fraction=8000`" in told


@pytest.mark.parametrize("zones", ALL_SHORT)
def test_short_ones_are_left_alone(lists: PageLists, zones: str) -> None:
    lists.zones.write_text(zones)

    assert lists.advice() == []
    assert not lists.shorten()
    assert lists.fraction.read_text() == "0\n"


def test_long_ones_are_shortened_and_put_back(lists: PageLists) -> None:
    was_done = lists.shorten()
    meanwhile = lists.fraction.read_text()
    lists.put_back()

    assert was_done
    assert meanwhile == "8000\n"
    assert lists.fraction.read_text() == "0\n"


def test_what_somebody_has_said_stays(lists: PageLists) -> None:
    lists.fraction.write_text("100\n")

    assert not lists.shorten()
    lists.put_back()
    assert lists.fraction.read_text() == "100\n"


def test_a_kernel_without_the_setting_is_left_alone(lists: PageLists) -> None:
    lists.fraction.unlink()

    assert not lists.shorten()
    lists.put_back()
    assert not lists.fraction.exists()


def test_what_cannot_be_set_is_told(
    lists: PageLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)

    with pytest.raises(
        MeshError, match=r"cannot be set to 8000: Read-only file system"
    ):
        lists.shorten()
