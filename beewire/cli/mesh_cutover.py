"""Let Beewire act in a pod in the place of Istio's rules: after shadow mode, at zero.

It is refused as long as the two sides disagreed on any connection, or too few were
compared. Istio's rules stay in the namespace and are passed over: connections that they
have redirected live by them, and are counted. Nothing is closed, no request fails, and
whoever dies on the way leaves a pod that is intercepted. Doing it again counts the older
connections that are left.

When none is, --finish removes the rules. Until then `beewire mesh rollback` is one command;
afterwards there is nothing to go back to. Needs root; goes through the agent where one runs.
"""

import argparse

from beewire.cli.mesh_common import add_usual, counted
from beewire.cli.parser import tell
from beewire.cli.table import print_json
from beewire.errors import UsageError

ENOUGH = 100  # as beewire.mesh.shadow has it
EPILOG = """\
examples:
  beewire mesh cutover shop
  beewire mesh cutover shop --min-compared 10000 && beewire mesh shadow shop
  beewire mesh cutover shop --finish

Exit codes: 0 Beewire acts, or the rules are removed; 1 that could not be and nothing has
changed; 2 the command line is wrong."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh cutover`."""
    parser.epilog = EPILOG
    parser.add_argument("pod", metavar="POD", help="its name, id or UID")
    parser.add_argument(
        "--min-compared",
        type=int,
        default=ENOUGH,
        metavar="N",
        help=f"connections that have to be compared before (default {ENOUGH})",
    )
    parser.add_argument(
        "--finish",
        action="store_true",
        help="remove Istio's rules of a pod that is cut over, once nothing goes by them",
    )
    add_usual(parser)


def run(args: argparse.Namespace) -> int:
    """Switch."""
    from beewire.mesh.agent import Mesh  # noqa: PLC0415 - `--help` needs none of it

    if args.min_compared < 0:
        raise UsageError(f"--min-compared {args.min_compared}: 0 or more")
    with Mesh() as mesh:
        if args.finish:
            return _finished(args, mesh.finish(args.pod))
        told = mesh.cutover(args.pod, least=args.min_compared)
    tell(args, f"{told['rules']} rules of Istio's are passed over, and stay")
    if args.json:
        print_json(told)
    else:
        print(_said(told))
    return 0


def _finished(args: argparse.Namespace, told: dict[str, object]) -> int:
    if args.json:
        print_json(told)
    else:
        rules = counted(int(str(told["removed"])), "rule")
        print(f"{told['name']}: Beewire acts, and {rules} of Istio's are removed")
    return 0


def _said(told: dict[str, object]) -> str:
    older = counted(int(str(told["older"])), "connection")
    if not told["changed"]:
        return (
            f"{told['name']}: Beewire acts already; {older} older than that still open"
        )
    compared = counted(int(str(told["compared"])), "connection")
    return (
        f"{told['name']}: Beewire acts ({compared} compared, 0 disagreed); {older} older"
        " than that still open"
    )
