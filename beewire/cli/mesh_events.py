"""Show what the data path refuses, or finds unusual, as it happens; or how often it did.

Each event has the process, where one runs, the addresses, the rule that decided if one
did, and the reason. A pod tells ten of a reason a second; all are counted. An event is
shown to one reader only: what came before is shown first. Needs root.
"""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from beewire.cli.mesh_common import add_usual
from beewire.cli.parser import tell
from beewire.cli.run import seconds
from beewire.cli.table import Column, Row, print_json, print_table

if TYPE_CHECKING:
    from beewire.mesh.agent import Directories
    from beewire.mesh.enrol import Node

EPILOG = """\
examples:
  beewire mesh events
  beewire mesh events shop --seconds 10 --json
  beewire mesh events --count

Exit codes: 0 it worked, 1 nothing of Beewire is loaded or there is no such pod, 2 the
command line is wrong."""

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
    from beewire.mesh.agent.status import opened  # noqa: PLC0415 - as above

    directories = node_of(os.environ)
    node = opened(directories)
    if node is None:
        raise MeshError(
            f"no programs of Beewire are pinned in {directories.pins}: no pod is enrolled"
        )
    with node:
        names = _names(directories, args.pod)
        return _count(args, node, names) if args.count else _follow(args, node, names)


def _names(directories: "Directories", pod: str) -> dict[int, str]:
    """The pods that are meant, by cookie; with a name, it alone."""
    from beewire.mesh.agent import records  # noqa: PLC0415 - as above

    found = [records.get(directories, pod)] if pod else records.every(directories)
    return {int(record.id): record.name for record in found}


def _follow(args: argparse.Namespace, node: "Node", names: dict[int, str]) -> int:
    from beewire.mesh import events  # noqa: PLC0415 - as above

    tell(args, "waiting for events; Ctrl-C ends it")
    for event in events.follow(node.loaded, args.seconds):
        if args.pod and event.pod not in names:
            continue
        name = names.get(event.pod, "")
        if args.json:
            print(json.dumps({"name": name, **event.to_json()}), flush=True)
        else:
            print(f"{name or f'namespace {event.pod}'}: {event}", flush=True)
    return 0


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
