"""`beewire agent`, as far as it goes without a node."""

import configparser
from collections.abc import Callable
from subprocess import CompletedProcess

Beewire = Callable[..., CompletedProcess[str]]


def test_the_unit_starts_this_beewire(beewire: Beewire) -> None:
    told = beewire("agent", "--unit")

    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign] # as configparser says
    unit.read_string(told.stdout)
    assert told.returncode == 0
    assert unit["Service"]["Type"] == "notify"
    assert unit["Service"]["ExecStart"].endswith(" agent")
    assert "@" not in unit["Service"]["ExecStart"]


def test_help_says_what_exit_codes_mean(beewire: Beewire) -> None:
    told = beewire("agent", "--help")

    assert "Exit codes: 0" in told.stdout
    assert "--once" in told.stdout


def test_a_directory_that_is_not_private_is_refused(beewire: Beewire) -> None:
    told = beewire("agent", BEEWIRE_RUN="/usr/lib", BEEWIRE_PINS="/nonexistent/bw")

    assert told.returncode == 1
    assert told.stderr.startswith("beewire: /usr/lib ")
    assert "Traceback" not in told.stderr
