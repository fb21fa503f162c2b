"""`beewire demo` where this machine refuses bpf(2): it says so, and runs in a guest."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import absent_programs
from tests.guest.needs import CHECKOUT, kernel_release

Demo = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.skipif(
    shutil.which("setpriv") is None, reason="setpriv is not installed"
)


@pytest.fixture
def demo() -> Demo:
    """Run `beewire demo` without the capability to load programs."""
    if absent := absent_programs():
        pytest.skip(
            f"the lab needs {', '.join(absent)}: scripts/bootstrap installs them"
        )
    without = ["setpriv", "--bounding-set=-bpf,-sys_admin"] if os.geteuid() == 0 else []

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*without, sys.executable, "-m", "beewire", "demo", *words],
            cwd=CHECKOUT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_it_says_what_is_refused_and_why_there_is_no_guest(
    demo: Demo, tmp_path: Path
) -> None:
    ran = demo(
        XDG_CACHE_HOME=str(tmp_path),
        BEEWIRE_DEBIAN_MIRROR="http://127.0.0.1:1/debian",
    )

    assert ran.returncode == 1
    first, *others = ran.stderr.splitlines()
    assert first.startswith(
        "beewire: this machine refuses what the demo needs (CAP_BPF"
    )
    assert any("the mirror's package lists" in line for line in others)
    assert any("and here the demo cannot run: CAP_BPF" in line for line in others)


def test_figures_of_a_guest_are_not_written(demo: Demo, tmp_path: Path) -> None:
    ran = demo("--json", str(tmp_path / "figures.json"))

    assert ran.returncode == 2
    assert "figures of a guest measure nothing" in ran.stderr
    assert not (tmp_path / "figures.json").exists()


def test_inside_of_a_guest_there_is_no_other(demo: Demo) -> None:
    ran = demo("--rounds", "1", BEEWIRE_GUEST="6.12")

    assert ran.returncode == 1
    assert "refuses what the demo needs" not in ran.stderr


@pytest.mark.guests
@pytest.mark.timeout(1800)
def test_it_runs_in_a_guest(demo: Demo) -> None:
    kernel_release("6.12")

    ran = demo("--rounds", "1")

    assert ran.returncode == 0, ran.stderr
    assert "that shows that it works, not how fast" in ran.stderr
    assert "requests/s" in ran.stdout
    assert "One connection under Beewire:" in ran.stdout
