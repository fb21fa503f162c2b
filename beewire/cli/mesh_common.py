"""What the commands about pods have in common: options, and how a pod is named."""

import argparse
from typing import TYPE_CHECKING, Any

from beewire.cli.parser import add_verbose

MOST_CONNECTIONS = 5  # of a pod, that are shown without -v

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
    lines += [f"              {each}" for each in told["why"]]
    found = told["connections"]
    if found:
        short = sum(each["mode"] == "short" for each in found)
        ends = counted(len(found), "live connection")
        lines.append(f"              {short:,} of {ends} by it")
    closed = told["closed"]
    if closed["connections"]:
        ends = counted(closed["connections"], "connection")
        lines.append(
            f"              {ends} closed: {closed['short_bytes']:,} bytes sent by it,"
            f" {closed['tcp_bytes']:,} by TCP"
        )
    shown = sorted(found, key=lambda each: (each["mode"] != "short", each["local"]))
    most = len(shown) if verbose else MOST_CONNECTIONS
    lines += [f"              {_connection(each)}" for each in shown[:most]]
    if len(shown) > most:
        lines.append(f"              and {len(shown) - most:,} more: -v shows them")
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
