"""The group `beewire mesh`: help, and what its end means."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from beewire.cli.mesh import COMMANDS

Run = Callable[..., subprocess.CompletedProcess[str]]
NAMES = [command.name for command in COMMANDS]


DOCS = Path(__file__).parents[2] / "docs" / "mesh" / "commands.md"


@pytest.mark.parametrize("name", NAMES)
def test_every_command_of_the_mesh_explains_itself(beewire: Run, name: str) -> None:
    told = beewire("mesh", name, "--help")

    assert told.returncode == 0
    assert "Exit codes: " in told.stdout
    assert "--json" in told.stdout
    assert "-v, --verbose" in told.stdout
    assert told.stdout.startswith(f"usage: beewire mesh {name}")
    assert f"\n  beewire mesh {name}" in told.stdout, "an example"


def test_every_command_of_the_mesh_has_a_row_in_the_documentation() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|", DOCS.read_text(), re.MULTILINE)

    assert sorted(rows) == sorted(NAMES)


def test_the_mesh_lists_its_commands(beewire: Run) -> None:
    told = beewire("mesh", "--help")

    assert told.returncode == 0
    assert all(command.summary.split()[0] in told.stdout for command in COMMANDS)


def test_the_mesh_without_a_command_shows_its_help_on_standard_error(
    beewire: Run,
) -> None:
    told = beewire("mesh")

    assert told.returncode == 2
    assert told.stdout == ""
    assert "usage: beewire mesh" in told.stderr


def test_an_unknown_command_of_the_mesh_is_a_usage_error(beewire: Run) -> None:
    told = beewire("mesh", "fly")

    assert told.returncode == 2
    assert "'fly'" in told.stderr
    assert all(name in told.stderr for name in NAMES)


def test_a_command_of_the_mesh_imports_no_other(python: Run) -> None:
    code = (
        "import sys; from beewire.cli import main\n"
        "try: main(['mesh', 'rules', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted(m for m in sys.modules if m.startswith('beewire')))"
    )

    loaded = python("-c", code).stdout.splitlines()[-1]

    others = [each.module for each in COMMANDS if each.name != "rules"]
    assert "beewire.cli.mesh_rules" in loaded
    assert [module for module in others if f"'{module}'" in loaded] == []
