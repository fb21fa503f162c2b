"""Let a node's container runtime call Beewire for each pod, by a CNI plugin.

Adds `beewire-cni` to the end of the CNI configuration that runtimes take, and to the
directory of plugins. Needs root; `beewire mesh uninstall` takes both away.
"""

import argparse
import os
from pathlib import Path

from beewire.cli.mesh_common import add_usual
from beewire.cli.parser import tell
from beewire.cli.table import print_json

EPILOG = """\
examples:
  beewire mesh install
  beewire mesh install --configuration /etc/cni/net.d/10-calico.conflist

BEEWIRE_CNI_CONF and BEEWIRE_CNI_BIN name other directories than /etc/cni/net.d and
/opt/cni/bin.

Exit codes: 0 it is there, 1 it could not be done, 2 the command line is wrong, or there
is no configuration."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh install`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--configuration",
        type=Path,
        metavar="FILE",
        help="the CNI configuration to add to (default: the first by name)",
    )
    add_usual(parser)


def run(args: argparse.Namespace) -> int:
    """Add the entry."""
    from beewire.mesh.agent import cni_entries  # noqa: PLC0415 - `--help` needs none

    paths = cni_entries.paths_of(os.environ)
    tell(args, f"configurations in {paths.configurations}, plugins in {paths.plugins}")
    changed = cni_entries.add(paths, args.configuration)
    if args.json:
        print_json({"changed": [str(path) for path in changed]})
    else:
        print(
            "\n".join(f"changed {path}" for path in changed) or "it was there already"
        )
    return 0
