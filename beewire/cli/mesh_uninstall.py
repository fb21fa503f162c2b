"""Remove every link, pin, map, socket and CNI entry of Beewire on this node.

The agent is stopped, pods are withdrawn, and then it is looked whether anything is left:
what is, is told, with the process that holds it. Open connections stay, and lose nothing:
the short path is switched off first, and what waits there is read. Needs root.
"""

import argparse
import os

from beewire.cli.mesh_common import add_usual, counted
from beewire.cli.parser import tell
from beewire.cli.run import seconds
from beewire.cli.table import print_json

EPILOG = """\
examples:
  beewire mesh uninstall
  beewire mesh uninstall --json | python3 -m json.tool

Exit codes: 0 nothing is left, 1 something is, or it could not be done, 2 the command line
is wrong."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh uninstall`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--wait",
        type=seconds,
        metavar="S",
        help="how long readers of the short path have (default: 30)",
    )
    parser.add_argument(
        "--lose-unread",
        action="store_true",
        help="do not wait for readers: what they have not read is lost",
    )
    add_usual(parser)


def run(args: argparse.Namespace) -> int:
    """Remove it all."""
    from beewire.mesh.agent import cni_entries  # noqa: PLC0415 - `--help` needs none
    from beewire.mesh.agent.directories import node_of  # noqa: PLC0415 - as above
    from beewire.mesh.agent.uninstall import WAIT_S, uninstall  # noqa: PLC0415 - as above

    directories = node_of(os.environ)
    tell(args, f"records in {directories.run}, pins in {directories.pins}")
    wait_s = None if args.lose_unread else args.wait or WAIT_S
    done = uninstall(directories, cni_entries.paths_of(os.environ), wait_s=wait_s)
    if args.json:
        print_json(done)
        return 1 if done.left else 0
    counts = [
        counted(getattr(done, field), field[:-1])
        for field in ("links", "programs", "maps", "pins", "records", "sockets")
    ]
    if done.drained:
        ends = counted(done.drained, "connection")
        print(
            f"waited {done.drained_s:.1f} s until the messages of {ends} on the short path"
            " were read"
        )
    print(f"removed {', '.join(counts)}")
    for path in done.cni:
        print(f"removed the CNI entry in {path}")
    for each in done.left:
        print(f"left: {each}")
    if not done.left:
        print("nothing of Beewire is left on this node")
    return 1 if done.left else 0
