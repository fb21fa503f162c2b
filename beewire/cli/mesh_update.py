"""Change a pod's configuration: every connection meets the old one or the new.

Needs root. Goes through the agent where one runs.
"""

import argparse

from beewire.cli.mesh_common import add_usual, config_text, named
from beewire.cli.mesh_config import add_bypass, add_configuration, bypass_settings
from beewire.cli.parser import tell
from beewire.cli.table import print_json
from beewire.errors import UsageError

EPILOG = """\
examples:
  beewire mesh update shop --annotation traffic.sidecar.istio.io/includeInboundPorts=8080
  beewire mesh update shop --config shop.yaml
  beewire mesh update shop --bypass all       the rest stays as it is

Exit codes: 0 changed, 1 there is no such pod or it could not be done and nothing has
changed, 2 the command line is wrong, or the configuration."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh update`."""
    parser.epilog = EPILOG
    parser.add_argument("target", metavar="POD", help="its name, id or UID")
    add_configuration(parser)
    add_bypass(parser)
    add_usual(parser)


def run(args: argparse.Namespace) -> int:
    """Change it."""
    from beewire.mesh.agent import Mesh  # noqa: PLC0415 - `--help` needs none of it

    wanted, change = config_text(args), bypass_settings(args)
    if not wanted and not change:
        raise UsageError(
            "to what? --pod, --annotation, --config, --bypass and others say so"
        )
    with Mesh() as mesh:
        record = mesh.update(args.target, wanted, change)
    tell(args, f"{named(record)} has another configuration")
    if args.json:
        print_json(record.to_json())
    else:
        print(f"{record.name} is configured anew")
    return 0
