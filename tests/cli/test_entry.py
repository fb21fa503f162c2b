"""The command line as a whole: help, versions, exit codes, errors as sentences."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

import beewire as package
from beewire.cli.commands import COMMANDS

Run = Callable[..., subprocess.CompletedProcess[str]]
NAMES = [command.name for command in COMMANDS]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_explains_itself(beewire: Run, name: str) -> None:
    told = beewire(name, "--help")

    assert told.returncode == 0
    assert told.stdout.startswith(f"usage: beewire {name}")
    assert f"\n  beewire {name}" in told.stdout, "an example"


def test_help_lists_every_command_with_a_summary(beewire: Run) -> None:
    told = beewire("--help")

    assert told.returncode == 0
    for command in COMMANDS:
        assert command.name in told.stdout
        assert command.summary.split()[0] in told.stdout


def test_help_imports_no_command(python: Run) -> None:
    code = (
        "import sys; from beewire.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted(m for m in sys.modules if m.startswith('beewire')))"
    )

    loaded = python("-c", code).stdout.splitlines()[-1]

    assert not [command.module for command in COMMANDS if command.module in loaded]
    assert "beewire.bpf" not in loaded


def test_version_is_the_package_version(beewire: Run) -> None:
    assert beewire("--version").stdout == f"beewire {package.__version__}\n"


def test_an_unknown_command_is_a_usage_error_that_lists_the_known(beewire: Run) -> None:
    told = beewire("fly")

    assert told.returncode == 2
    assert "'fly'" in told.stderr
    assert all(name in told.stderr for name in NAMES)


def test_no_command_at_all_shows_the_help_on_standard_error(beewire: Run) -> None:
    told = beewire()

    assert told.returncode == 2
    assert told.stdout == ""
    assert "commands:" in told.stderr


def test_an_unknown_option_is_a_usage_error(beewire: Run) -> None:
    told = beewire("doctor", "--nonsense")

    assert told.returncode == 2
    assert "--nonsense" in told.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = [sys.executable, "-m", "beewire", "doctor", "--json"]
    read_end, write_end = os.pipe()
    os.close(read_end)

    with os.fdopen(write_end, "w") as pipe:
        told = subprocess.run(
            command, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )

    assert told.returncode == 141
    assert told.stderr == ""


def test_closed_streams_are_no_fault() -> None:
    script = f"exec '{sys.executable}' -m beewire doctor --json >&- 2>&-"

    told = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=False)

    assert told.returncode in {0, 1}
    assert told.stderr == b""


def test_what_a_command_asks_for_is_only_what_it_needs(beewire: Run) -> None:
    told = beewire("run")

    assert told.returncode == 2
    assert told.stderr.rstrip().endswith("are required: FILE.py")
