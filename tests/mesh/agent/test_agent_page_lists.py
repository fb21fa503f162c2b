"""What a node is told whose CPUs keep long lists of free pages."""

import os

import pytest

from beewire.mesh.agent.page_lists import advice

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


def test_lists_that_may_outgrow_caches_are_told_of() -> None:
    pages = (1 << 30) // os.sysconf("SC_PAGE_SIZE")

    (told,) = advice(GROWS.format(pages))

    assert "may grow to 1,024 MB here" in told
    assert "`sysctl -w vm.percpu_pagelist_high_fraction=8000`" in told


@pytest.mark.parametrize("zones", [GROWS.format(337), BEFORE_THEY_GREW, ""])
def test_short_ones_are_not(zones: str) -> None:
    assert advice(zones) == []
