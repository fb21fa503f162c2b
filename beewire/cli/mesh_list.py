"""List the pods of this node: those that are enrolled, and those that wait behind a gate.

MODE tells whether Beewire acts in a pod (acting), or Istio's rules do while it compares
(shadow). Needs root. Exits with 0, also where there are none.
"""

import argparse

from beewire.cli.mesh_common import add_usual
from beewire.cli.parser import tell
from beewire.cli.table import Column, Row, print_json, print_table

EPILOG = """\
examples:
  beewire mesh list
  beewire mesh list --json | python3 -m json.tool

Exit codes: 0 always, but 1 where the records cannot be read, 2 the command line is wrong."""

COLUMNS = (
    Column("ID", right=True),
    Column("NAME"),
    Column("STATE"),
    Column("MODE"),
    Column("ADDRESSES"),
    Column("NETNS"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh list`."""
    parser.epilog = EPILOG
    add_usual(parser)


def run(args: argparse.Namespace) -> int:
    """List them."""
    from beewire.mesh.agent import Mesh  # noqa: PLC0415 - `--help` needs none of it

    with Mesh() as mesh:
        pods, modes = mesh.pods(), mesh.modes()
        tell(
            args, f"records in {mesh.directories.run}, pins in {mesh.directories.pins}"
        )
    if args.json:
        told = [{**each.to_json(), "mode": modes.get(each.id, "")} for each in pods]
        print_json({"pods": told})
    elif not pods:
        print("no pod is enrolled")
    else:
        cells = [
            (
                each.id,
                each.name,
                each.state,
                modes.get(each.id, "-"),
                ",".join(each.addresses) or "-",
                each.netns,
            )
            for each in pods
        ]
        print_table(COLUMNS, [Row(each) for each in cells])
    return 0
