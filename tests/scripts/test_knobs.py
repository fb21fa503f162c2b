"""The page of knobs is what its table makes."""

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def test_the_page_of_knobs_is_made_from_its_table() -> None:
    command = [sys.executable, str(CHECKOUT / "scripts" / "gen_knobs.py"), "--check"]

    done = subprocess.run(command, check=False, cwd=CHECKOUT, capture_output=True)

    assert done.returncode == 0, "python scripts/gen_knobs.py writes it"
