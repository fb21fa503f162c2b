"""List the flows of a pod that did not go through its sidecar, each with the reason.

Open connections, by the verdicts that their sockets hold; what no program sees: older
connections, kernel sockets, processes in another namespace; and how often each rule left
something alone. The sidecar's own connections are not meant. Needs root; changes nothing.
"""

import argparse
import os

from beewire.cli.parser import add_verbose, tell
from beewire.cli.table import print_json

EPILOG = """\
examples:
  beewire mesh why-not shop
  beewire mesh why-not shop --json

Exit codes: 0 listed, 1 there is no such pod."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh why-not`."""
    parser.epilog = EPILOG
    parser.add_argument("pod", metavar="POD", help="in which pod")
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    add_verbose(parser)


def run(args: argparse.Namespace) -> int:
    """List them."""
    from beewire.mesh.agent.directories import node_of  # noqa: PLC0415 - not for --help
    from beewire.mesh.agent.explaining import why_not  # noqa: PLC0415

    directories = node_of(os.environ)
    tell(args, f"reads pins below {directories.pins}, records below {directories.run}")
    found = why_not(directories, args.pod)
    if args.json:
        print_json([each._asdict() for each in found])
        return 0
    for each in found:
        rule = f" [{each.rule}]" if each.rule else ""
        print(f"{each.kind}: {each.flow}{rule}")
        print(f"    {each.why}" + (f"; set by {each.origin}" if each.origin else ""))
    if not found:
        print(f"nothing of pod {args.pod} goes past its sidecar")
    return 0
