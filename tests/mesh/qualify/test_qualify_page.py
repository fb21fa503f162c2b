"""The page on hazards says what the table says."""

import re
from pathlib import Path

from beewire.mesh.qualify import HAZARDS, TWIN, Role

PAGE = Path(__file__).parents[3] / "docs" / "mesh" / "qualify.md"


def test_every_hazard_has_a_row_with_its_class_and_what_is_done() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| ([AB]) \| ([^|]+) \|", PAGE.read_text(), re.MULTILINE
    )

    told = {name: (kind, what) for name, kind, what in rows}
    assert told.pop(TWIN)[0] == "A"
    assert told == {h.name: (h.hazard_class.value, h.what) for h in HAZARDS}


def test_a_row_tells_its_way_and_whether_it_is_met_past_a_sidecar() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| [AB] \| [^|]+ \| ([^|]+) \|(.*)\|$",
        PAGE.read_text(),
        re.MULTILINE,
    )
    words = {"short": "the short path", "both": "both ways", "tcp": "TCP"}

    told = {name: (way, past.strip() == "yes") for name, way, past in rows}
    assert told.pop(TWIN) == ("both ways", True)
    assert told == {h.name: (words[h.way], Role.SPLICE in h.legs) for h in HAZARDS}


def test_hazards_have_names_of_their_own() -> None:
    names = [hazard.name for hazard in HAZARDS]

    assert len(set(names)) == len(names)
    assert TWIN not in names
