"""Withdraw a pod: its connections go their own way again, and open ones stay.

Needs root. Goes through the agent where one runs.
"""

import argparse

from beewire.cli.mesh_common import add_usual, named
from beewire.cli.parser import tell
from beewire.cli.table import print_json
from beewire.errors import UsageError

EPILOG = """\
examples:
  beewire mesh down shop
  beewire mesh down --all

Exit codes: 0 withdrawn, 1 there is no such pod or it could not be done, 2 the command
line is wrong."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh down`."""
    parser.epilog = EPILOG
    parser.add_argument("pod", nargs="?", metavar="POD", help="its name, id or UID")
    parser.add_argument("--all", action="store_true", help="every pod of the node")
    add_usual(parser)


def run(args: argparse.Namespace) -> int:
    """Withdraw it."""
    from beewire.mesh.agent import Mesh  # noqa: PLC0415 - `--help` needs none of it

    if (args.pod is None) == (not args.all):
        raise UsageError("which pod? name one, or say --all")
    with Mesh() as mesh:
        names = [each.id for each in mesh.pods()] if args.all else [args.pod]
        records = [mesh.down(name) for name in names]
    for record in records:
        tell(args, f"{named(record)} is withdrawn")
    if args.json:
        print_json({"withdrawn": [each.to_json() for each in records]})
    else:
        print("\n".join(f"{each.name} is withdrawn" for each in records) or "no pods")
    return 0
