"""What the commands about pods have in common: options, and how a pod is named."""

import argparse
from collections import Counter
from typing import TYPE_CHECKING, Any

from beewire.cli.parser import add_verbose

MOST_CONNECTIONS = 5  # of a pod, that are shown without -v
_INDENT = " " * 14

if TYPE_CHECKING:
    from beewire.mesh.agent import PodRecord


def add_usual(parser: argparse.ArgumentParser) -> None:
    """Declare `--json` and `-v`."""
    parser.add_argument("--json", action="store_true", help="print all that is known")
    add_verbose(parser)


def config_text(args: argparse.Namespace) -> str:
    """The configuration that the command line asks for, as a Beewire file; "" for none.

    Raises:
        UsageError: a file or an option is wrong, or asks for what cannot be honoured.
    """
    from beewire.cli.mesh_config import asked, configuration, refuse  # noqa: PLC0415 - late
    from beewire.mesh.config import write_file  # noqa: PLC0415 - as above

    if not asked(args):
        return ""
    found = configuration(args)
    refuse(args, found)
    return write_file(found)


def named(record: "PodRecord") -> str:
    """A pod as messages name it: "shop (id 4711)"."""
    return f"{record.name} (id {record.id})"


def counted(number: int, word: str) -> str:
    """A number of things: "1 pod", "2 pods"."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def bypass_lines(told: dict[str, Any], *, verbose: bool) -> list[str]:
    """How far a pod's connections are shortened, and why not further, a line each."""
    more = [name for name in ("shortcut", "splice") if told[name]]
    asked = told["asked"] or "nothing"
    lines = [
        f"  short path  {', '.join((told['tier'], *more))}"
        + (f" (asked for: {asked})" if verbose else "")
    ]
    more_lines = [*told["why"], *_carried(told), *_connections(told, verbose=verbose)]
    return lines + [f"{_INDENT}{each}" for each in more_lines]


def _carried(told: dict[str, Any]) -> list[str]:
    found, closed = told["connections"], told["closed"]
    lines = []
    if found:
        short = sum(each["mode"] == "short" for each in found)
        lines.append(f"{short:,} of {counted(len(found), 'live connection')} by it")
    if closed["connections"]:
        lines.append(
            f"{counted(closed['connections'], 'connection')} closed:"
            f" {closed['short_bytes']:,} bytes sent by it, {closed['tcp_bytes']:,} by TCP"
        )
    return lines


def _connections(told: dict[str, Any], *, verbose: bool) -> list[str]:
    """Each connection; or those that carry most, and how many there are by each reason."""
    short = [each for each in told["connections"] if each["mode"] == "short"]
    others = [each for each in told["connections"] if each["mode"] != "short"]
    short.sort(key=lambda each: -each["short_messages"])
    if verbose:
        return [_connection(each) for each in (*short, *others)]
    lines = [_connection(each) for each in short[:MOST_CONNECTIONS]]
    if len(short) > MOST_CONNECTIONS:
        lines.append(f"and {len(short) - MOST_CONNECTIONS:,} more: -v shows them")
    reasons = Counter(each["reason"] for each in others)
    lines += [f"{n:,} by TCP: {reason}" for reason, n in reasons.most_common()]
    return lines


def _connection(told: dict[str, Any]) -> str:
    way = f"{told['local']} to {told['remote']}"
    if told["mode"] == "short":
        return f"{way}: {told['tier']}, {counted(told['short_messages'], 'message')}"
    return f"{way}: TCP, {told['reason']}"


def compared_text(told: dict[str, Any]) -> str:
    """What was compared in shadow mode, in words."""
    if not told["compared"]:
        return "no connection compared so far"
    return (
        f"{counted(told['compared'], 'connection')} compared, {told['agreed']:,} agreed,"
        f" {told['disagreed']:,} disagreed"
    )
