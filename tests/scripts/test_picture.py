"""The pictures that scripts/picture.py draws."""

import json
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

SVG = "{http://www.w3.org/2000/svg}"


def figure(value: float | None, *spread: float) -> dict[str, object]:
    return {"value": value, "spread": list(spread), "unit": "ratio"}


@pytest.fixture
def report(tmp_path: Path) -> Path:
    figures = {
        "requests_ratio": figure(1.25, 1.2, 1.3),
        "cpu_per_request_ratio": figure(0.75, 0.7, 0.8),
        "p99_ratio": figure(1.5, 0.9, 2.0),
        "p50_ratio": figure(None),
        "errors": {"value": 0, "unit": "count"},
        "iptables.errors": {"value": 2, "unit": "count"},
    }
    path = tmp_path / "demo.json"
    path.write_text(
        json.dumps(
            {"benchmark": "mesh", "machine": {}, "rounds": 8, "figures": figures}
        )
    )
    return path


@pytest.fixture
def drawn(python: Run, report: Path, tmp_path: Path) -> ET.Element:
    told = python("scripts/picture.py", "result", str(report), str(tmp_path / "r.svg"))
    assert told.stderr == ""
    return ET.parse(tmp_path / "r.svg").getroot()


def words(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def bars(root: ET.Element) -> list[tuple[str, float]]:
    kinds = ("good", "bad")
    rects = [r for r in root.iter(f"{SVG}rect") if r.get("class") in kinds]
    return [(r.get("class", ""), float(r.get("width", ""))) for r in rects]


def test_every_measured_ratio_is_a_bar_as_long_as_its_value(drawn: ET.Element) -> None:
    lengths = [length for _, length in bars(drawn)]

    assert [round(length / lengths[0] * 1.25, 2) for length in lengths] == [
        1.25,
        0.75,
        1.5,
    ]


def test_a_bar_on_the_wrong_side_of_one_is_marked(drawn: ET.Element) -> None:
    assert [kind for kind, _ in bars(drawn)] == ["good", "good", "bad"]


def test_values_and_spreads_stand_beside_the_bars(drawn: ET.Element) -> None:
    told = words(drawn)

    assert "1.25" in told
    assert "quartiles 1.20 to 1.30" in told


def test_counts_and_rounds_are_told(drawn: ET.Element) -> None:
    told = words(drawn)

    assert "Beewire: 0 errors" in told
    assert "iptables: 2 errors" in told
    assert "medians of 8 interleaved rounds" in told


def test_a_file_without_ratios_is_refused(python: Run, tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_text(json.dumps({"rounds": 1, "figures": {}}))

    told = python("scripts/picture.py", "result", str(path), str(tmp_path / "r.svg"))

    assert told.returncode == 1
    assert "none of the demo's ratios" in told.stderr


def test_the_drawn_data_path_is_the_one_in_the_documentation(
    python: Run, tmp_path: Path
) -> None:
    python("scripts/picture.py", "path", str(tmp_path / "path.svg"))

    kept = Path(__file__).parents[2] / "docs" / "pictures" / "path.svg"
    assert (tmp_path / "path.svg").read_text() == kept.read_text()
