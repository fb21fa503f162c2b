"""Show what the data path refuses, or finds unusual, as it happens; or how often it did.

Each event has the process, where one runs, the addresses, the rule that decided if one
did, and the reason. A pod tells ten of a reason a second; all are counted. A pod whose tier
of the short path changes is told, with the reason, while this runs. An event is
shown to one reader only: what came before is shown first. Needs root.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from beewire.cli.mesh_common import add_usual
from beewire.cli.parser import tell
from beewire.cli.run import seconds
from beewire.cli.table import Column, Row, print_json, print_table

if TYPE_CHECKING:
    from beewire.mesh.agent import Directories
    from beewire.mesh.agent.notices import Notices
    from beewire.mesh.enrol import Node
    from beewire.mesh.events import Event

EPILOG = """\
examples:
  beewire mesh events
  beewire mesh events shop --seconds 10 --json
  beewire mesh events --count

Exit codes: 0 it worked, 1 nothing of Beewire is loaded or there is no such pod, 2 the
command line is wrong."""

NOTICES_S = 0.5  # how often it is looked for what the agent tells
TIER = "SHORT_PATH"  # what JSON calls the reason of what it tells

COLUMNS = (
    Column("POD"),
    Column("REASON"),
    Column("COUNT", right=True),
    Column("WHICH MEANS"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh events`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "pod", nargs="?", default="", metavar="POD", help="of one pod only"
    )
    parser.add_argument(
        "--seconds", type=seconds, metavar="S", help="end after so many seconds"
    )
    parser.add_argument(
        "--count", action="store_true", help="how often each reason was, and end"
    )
    add_usual(parser)


def run(args: argparse.Namespace) -> int:
    """Show them."""
    import os  # noqa: PLC0415 - `--help` needs none of it

    from beewire.errors import MeshError  # noqa: PLC0415 - as above
    from beewire.mesh.agent.directories import node_of  # noqa: PLC0415 - as above
    from beewire.mesh.agent.notices import Notices  # noqa: PLC0415 - as above
    from beewire.mesh.agent.status import opened  # noqa: PLC0415 - as above

    directories = node_of(os.environ)
    node = opened(directories)
    if node is None:
        raise MeshError(
            f"no programs of Beewire are pinned in {directories.pins}: no pod is enrolled"
        )
    with node:
        names = _names(directories, args.pod)
        if args.count:
            return _count(args, node, names)
        return _follow(args, node, names, Notices(directories))


def _names(directories: "Directories", pod: str) -> dict[int, str]:
    """The pods that are meant, by cookie; with a name, it alone."""
    from beewire.mesh.agent import records  # noqa: PLC0415 - as above

    found = [records.get(directories, pod)] if pod else records.every(directories)
    return {int(record.id): record.name for record in found}


def _follow(
    args: argparse.Namespace, node: "Node", names: dict[int, str], notices: "Notices"
) -> int:
    tell(args, "waiting for events; Ctrl-C ends it")
    for told in _as_they_come(args, node, notices):
        if isinstance(told, dict):
            _show_notice(args, told)
        elif not args.pod or told.pod in names:
            _show_event(args, told, names.get(told.pod, ""))
    return 0


def _as_they_come(
    args: argparse.Namespace, node: "Node", notices: "Notices"
) -> "Iterator[Event | dict[str, Any]]":
    """Events of the programs, and what the agent has to tell, a little later."""
    from beewire.mesh import events  # noqa: PLC0415 - as above

    until = time.monotonic() + (args.seconds or float("inf"))
    while (left := until - time.monotonic()) > 0:
        yield from events.follow(node.loaded, min(left, NOTICES_S))
        yield from notices.new()


def _show_event(args: argparse.Namespace, event: "Event", name: str) -> None:
    if args.json:
        print(json.dumps({"name": name, **event.to_json()}), flush=True)
    else:
        print(f"{name or f'namespace {event.pod}'}: {event}", flush=True)


def _show_notice(args: argparse.Namespace, told: dict[str, Any]) -> None:
    if args.pod and told["pod"] != args.pod:
        return
    if args.json:
        notice = {"name": told["pod"], "reason": TIER, **told}
        print(json.dumps(notice), flush=True)
    else:
        print(f"{told['pod']}: {told['says']}", flush=True)


def _count(args: argparse.Namespace, node: "Node", names: dict[int, str]) -> int:
    from beewire.mesh import events  # noqa: PLC0415 - as above

    found = [
        (name, reason, n)
        for pod, name in names.items()
        for reason, n in events.counts(node.loaded, pod).items()
        if n
    ]
    if args.json:
        told = [
            {"name": name, "reason": reason.name, "count": n}
            for name, reason, n in found
        ]
        print_json({"events": told})
    elif not found:
        print("nothing was refused, and nothing was unusual")
    else:
        cells = [
            (name, reason.name, f"{n:,}", events.SENTENCES[reason])
            for name, reason, n in found
        ]
        print_table(COLUMNS, [Row(each) for each in cells])
    sys.stdout.flush()
    return 0
