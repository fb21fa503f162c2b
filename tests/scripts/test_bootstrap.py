"""scripts/bootstrap, as far as it can be tried without changing this machine."""

import os
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def bootstrap(
    folder: Path, *words: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(folder / "scripts" / "bootstrap"), *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("scripts/bootstrap", "pyproject.toml", "beewire/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((CHECKOUT / name).read_bytes())
    (tmp_path / "scripts" / "bootstrap").chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("words", [(), ("everything",)])
def test_a_purpose_that_it_does_not_know_is_refused(words: tuple[str, ...]) -> None:
    told = bootstrap(CHECKOUT, *words)

    assert told.returncode == 1
    assert told.stderr == "setup: usage: scripts/bootstrap demo|test|bench|check|docs\n"


def test_an_old_python_is_refused_with_what_is_needed(
    clone: Path, tmp_path: Path
) -> None:
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\n')
    old.chmod(0o755)

    told = bootstrap(clone, "check", PYTHON=str(old))

    assert told.returncode == 1
    assert "needs Python 3.11 or newer; found Python 3.9.2" in told.stderr
    assert not (clone / ".venv").exists()


def test_a_python_that_is_not_there_is_named(clone: Path) -> None:
    told = bootstrap(clone, "check", PYTHON="/absent/python3")

    assert told.returncode == 1
    assert "/absent/python3" in told.stderr
