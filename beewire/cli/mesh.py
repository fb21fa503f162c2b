"""Interception that replaces istio-iptables: one command for each thing to do with it."""

import argparse
import sys

from beewire.cli.commands import Command
from beewire.cli.parser import add_commands

USAGE = 2
EPILOG = """\
examples:
  beewire mesh check --pod pod.yaml     can Beewire serve this pod?
  beewire mesh rules --pod pod.yaml     what would Istio install?

Exit codes: 0 it worked, 1 it failed, 2 the command line or a file it names is wrong."""

COMMANDS = (
    Command("up", "beewire.cli.mesh_up", "enrol a pod"),
    Command("down", "beewire.cli.mesh_down", "withdraw a pod"),
    Command("update", "beewire.cli.mesh_update", "change a pod's configuration"),
    Command(
        "bypass",
        "beewire.cli.mesh_bypass",
        "the short path: which pods have it, why not, and off and on",
    ),
    Command("list", "beewire.cli.mesh_list", "the pods of this node"),
    Command(
        "status",
        "beewire.cli.mesh_status",
        "how pods are, and what goes past their sidecars",
    ),
    Command(
        "shadow",
        "beewire.cli.mesh_shadow",
        "whether Beewire would do what Istio's rules do in a pod",
    ),
    Command(
        "cutover", "beewire.cli.mesh_cutover", "from Istio's rules to Beewire, in a pod"
    ),
    Command("rollback", "beewire.cli.mesh_rollback", "and back to Istio's rules"),
    Command(
        "events",
        "beewire.cli.mesh_events",
        "what is refused, or unusual, as it happens",
    ),
    Command(
        "install", "beewire.cli.mesh_install", "let a container runtime call Beewire"
    ),
    Command(
        "uninstall",
        "beewire.cli.mesh_uninstall",
        "remove everything of Beewire from this node, and look whether it is gone",
    ),
    Command(
        "rules",
        "beewire.cli.mesh_rules",
        "the rules that Istio would install for a configuration",
    ),
    Command(
        "parity",
        "beewire.cli.mesh_parity",
        "prove that Beewire decides as Istio's rules do",
    ),
    Command(
        "qualify",
        "beewire.cli.mesh_qualify",
        "is the short path safe under this kernel, and for whom?",
    ),
    Command(
        "check",
        "beewire.cli.mesh_check",
        "what is wrong with a pod's configuration, and where each setting is from",
    ),
    Command(
        "explain",
        "beewire.cli.mesh_explain",
        "why a connection goes where it goes",
    ),
    Command(
        "why-not",
        "beewire.cli.mesh_why_not",
        "flows of a pod that did not go through its sidecar",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh`."""
    parser.epilog = EPILOG
    parser.set_defaults(group=parser)
    add_commands(parser, COMMANDS)


def run(args: argparse.Namespace) -> int:
    """Say what there is: no subcommand was named."""
    args.group.print_help(sys.stderr)
    return USAGE
