"""Let Istio's rules act in a pod again in the place of Beewire: one command, at any time.

The pod is in shadow mode afterwards. Nothing is closed, no request fails; connections that
Beewire has captured go on, and are counted. Needs root; goes through the agent where one
runs.
"""

import argparse

from beewire.cli.mesh_common import add_usual, counted
from beewire.cli.parser import tell
from beewire.cli.table import print_json

EPILOG = """\
examples:
  beewire mesh rollback shop
  beewire mesh rollback shop --json

Exit codes: 0 Istio's rules act, 1 they do not: there are none any more, or there is no such
pod; 2 the command line is wrong."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh rollback`."""
    parser.epilog = EPILOG
    parser.add_argument("pod", metavar="POD", help="its name, id or UID")
    add_usual(parser)


def run(args: argparse.Namespace) -> int:
    """Switch back."""
    from beewire.mesh.agent import Mesh  # noqa: PLC0415 - `--help` needs none of it

    with Mesh() as mesh:
        told = mesh.rollback(args.pod)
    tell(args, f"{told['rules']} rules of Istio's are in its namespace")
    if args.json:
        print_json(told)
    else:
        already = "" if told["changed"] else " already"
        older = counted(told["older"], "connection")
        print(
            f"{told['name']}: Istio's rules act{already}, Beewire compares; {older} of"
            " Beewire's still open"
        )
    return 0
