"""What the commands about pods have in common: options, and how a pod is named."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from beewire.cli.parser import add_verbose
from beewire.errors import UsageError

if TYPE_CHECKING:
    from beewire.mesh.agent import PodRecord

_WORDS = {"true": True, "false": False}


def add_usual(parser: argparse.ArgumentParser) -> None:
    """Declare `--json` and `-v`."""
    parser.add_argument("--json", action="store_true", help="print all that is known")
    add_verbose(parser)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Declare `--setting` and `--settings`."""
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one field of istio-iptables' configuration; may be repeated (default: what"
        " Istio's injector asks for)",
    )
    parser.add_argument(
        "--settings",
        metavar="FILE",
        help="a JSON file with such fields; - reads standard input",
    )


def settings(args: argparse.Namespace) -> dict[str, object]:
    """The settings that the command line names.

    Raises:
        UsageError: a word is no NAME=VALUE, or a file holds no object of JSON.
    """
    found: dict[str, object] = _from_file(args.settings) if args.settings else {}
    for word in args.setting:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"--setting {word}: write it as NAME=VALUE")
        found[name] = _WORDS.get(value, value)
    return found


def _from_file(name: str) -> dict[str, object]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text()
        found = json.loads(text)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{name} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{name} holds no object of settings")
    return found


def named(record: "PodRecord") -> str:
    """A pod as messages name it: "shop (id 4711)"."""
    return f"{record.name} (id {record.id})"


def counted(number: int, word: str) -> str:
    """A number of things: "1 pod", "2 pods"."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
