"""The search for the highest rate without loss, and the picture of what is lost."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """The benchmarks' helpers, which lie beside them."""
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


class Tool:
    """A tool that takes so many events a second, and callers that offer no more than."""

    def __init__(self, takes: float, offered: float = 1e9) -> None:
        self.rates = importlib.import_module("_event_rates")
        self.takes = takes
        self.offered = offered

    def trial(self, _reading: object, rate: float, _seconds: float) -> Any:
        offered = min(rate, self.offered)
        lost = max(0.0, 1 - self.takes / offered)
        reached = offered > 0.9 * rate
        return self.rates.Rung(offered, lost, 0.1, 0.1, reached=reached)

    def highest(self) -> float:
        rungs = self.rates.climb(self, None, 1)
        found: float = self.rates.highest(self, None, rungs, 1).offered
        return found


@given(st.floats(26_000, 12_000_000))
def test_the_highest_rate_is_found_within_a_sixteenth_of_an_octave(
    takes: float,
) -> None:
    found = Tool(takes).highest()

    assert takes / 1.05 < found <= takes


@given(st.floats(30_000, 10_000_000))
def test_no_more_is_found_than_the_callers_offer(offered: float) -> None:
    assert Tool(1e9, offered).highest() <= offered


def test_a_tool_that_always_loses_takes_nothing() -> None:
    assert Tool(1).highest() == 0


def test_losses_are_drawn_between_none_and_all() -> None:
    plot = importlib.import_module("_loss_plot")
    curve = plot.Curve("a tool", "#0a5", [(25_000, 0), (1e6, 0.5), (2e7, 1)])

    drawn = ET.fromstring(plot.drawing([curve]))

    [line] = drawn.iter("{http://www.w3.org/2000/svg}polyline")
    points = [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]
    assert [y for _, y in points] == [350, 185, 20]
    assert 0 < points[0][0] < points[1][0] < points[2][0] <= 530
