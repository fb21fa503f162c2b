"""The page on the short path has the reasons as `beewire mesh status` says them."""

import re
from pathlib import Path

from beewire.mesh.bypass import REASONS
from beewire.mesh.programs.bypass.state import Why

PAGE = Path(__file__).parents[3] / "docs" / "mesh" / "bypass.md"


def test_every_reason_has_a_row_that_says_whether_the_connection_stays_on_tcp() -> None:
    rows = re.findall(r"^\| ([^|]+) \| (\*stays\*)?", PAGE.read_text(), re.MULTILINE)

    told = {reason: bool(stays) for reason, stays in rows}
    reasons = {said: why >= Why.UNMET for why, said in REASONS.items() if said}
    assert reasons.items() <= told.items()
