"""Say why a connection goes where it goes: hooks, the rule that decides, who set it.

FLOW is a connection that might be made in the pod: `tcp 10.0.0.5:1234 '->' 10.96.0.10:80`;
quote the arrow, or write `to`. With --live it is one that is there: a process (4711), one
of its descriptors (4711/12), or a connection's ends; then all is read from the socket, and
nothing is decided again. Needs root; changes nothing.
"""

import argparse
import os
from typing import TYPE_CHECKING

from beewire.cli.parser import add_verbose, tell
from beewire.cli.table import print_json
from beewire.errors import UsageError

if TYPE_CHECKING:
    from beewire.mesh.explain import Explanation, Question

EPILOG = """\
examples:
  beewire mesh explain --pod shop tcp 10.0.0.5:1234 '->' 10.96.0.10:80
  beewire mesh explain --pod shop 10.96.0.10:443 --uid 1000
  beewire mesh explain --pod shop udp 10.0.0.5:999 to 10.96.0.2:53 --json
  beewire mesh explain --live 4711
  beewire mesh explain --live 4711/12
  beewire mesh explain --pod shop --live 10.0.0.5:1234 to 10.96.0.10:80

Exit codes: 0 explained, 1 there is no such pod or connection, 2 FLOW is none."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh explain`."""
    parser.epilog = EPILOG
    _add_options(parser)
    add_verbose(parser)
    # Options may stand behind it, too: see `_whole`.
    parser.add_argument(
        "flow", nargs=argparse.REMAINDER, metavar="FLOW", help="which connection"
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pod", default="", help="in which pod")
    parser.add_argument("--live", action="store_true", help="one that is there")
    parser.add_argument("--uid", type=int, metavar="N", help="the socket's user")
    parser.add_argument("--gid", type=int, metavar="N", help="the socket's group")
    parser.add_argument(
        "--proxy", action="store_true", help="the sidecar dials, from its cgroup"
    )
    parser.add_argument(
        "--interface",
        default="",
        metavar="NAME",
        help="by which interface (default: what the pod's routes say)",
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    from beewire.mesh.agent.directories import node_of  # noqa: PLC0415 - not for --help
    from beewire.mesh.agent.explaining import (  # noqa: PLC0415
        explain_live,
        explain_question,
    )

    words = _whole(args)
    directories = node_of(os.environ)
    tell(args, f"reads pins below {directories.pins}, records below {directories.run}")
    if args.live:
        _refuse_with_live(args)
        found = explain_live(directories, args.pod, " ".join(words))
    else:
        if not args.pod:
            raise UsageError("--pod says in which pod; `beewire mesh list` shows them")
        found = [explain_question(directories, args.pod, question(args, words))]
    show(found, as_json=args.json)
    return 0


def _whole(args: argparse.Namespace) -> list[str]:
    # The flow's words; options that stand behind them are read into `args`.
    words: list[str] = args.flow
    at = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    behind = argparse.ArgumentParser(prog="beewire mesh explain", exit_on_error=False)
    _add_options(behind)
    try:
        _, unknown = behind.parse_known_args(words[at:], args)
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from error
    if unknown:
        raise UsageError(f"{unknown[0]} is no option of `beewire mesh explain`")
    if not words[:at]:
        raise UsageError("which connection? `beewire mesh explain --help` has examples")
    return words[:at]


def _refuse_with_live(args: argparse.Namespace) -> None:
    given = [name for name in ("uid", "gid") if getattr(args, name) is not None]
    given += [name for name in ("proxy", "interface") if getattr(args, name)]
    if given:
        raise UsageError(
            f"--{given[0]} is for connections that might be, not for --live"
        )


def question(args: argparse.Namespace, words: list[str]) -> "Question":
    """What is asked."""
    from beewire.mesh.explain import parse  # noqa: PLC0415 - not for --help

    asked = parse(words)
    owners = {name: getattr(args, name) for name in ("uid", "gid")}
    known = {name: number for name, number in owners.items() if number is not None}
    return asked._replace(**known, in_proxy=args.proxy, interface=args.interface)


def show(found: "list[Explanation]", *, as_json: bool) -> None:
    """Print explanations."""
    if as_json:
        print_json([each.to_json() for each in found])
    else:
        print("\n\n".join(each.text() for each in found))
