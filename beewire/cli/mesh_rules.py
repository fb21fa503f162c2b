"""Print the rules that Istio would install for a configuration.

They are the input of iptables-restore and ip6tables-restore, table by table.
"""

import argparse

from beewire.cli.parser import add_verbose, tell
from beewire.errors import UsageError
from beewire.mesh.config import from_istio
from beewire.mesh.parity import restore_inputs

EPILOG = """\
examples:
  beewire mesh rules --setting 'InboundPortsInclude=*' --setting ProxyUID=1337"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh rules`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one field of istio-iptables' configuration; may be repeated",
    )
    add_verbose(parser)


def run(args: argparse.Namespace) -> int:
    """Print the rules."""
    settings: dict[str, object] = {}
    for word in args.setting:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"--setting {word}: write it as NAME=VALUE")
        settings[name] = {"true": True, "false": False}.get(value, value)
    tables = restore_inputs(from_istio(settings))
    tell(args, f"{len(tables)} tables of rules")
    for table in tables:
        print(table.text, end="")
    return 0
