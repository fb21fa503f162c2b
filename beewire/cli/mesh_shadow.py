"""Tell what was compared of a pod in shadow mode: Beewire decides, Istio's rules act.

`beewire mesh up --shadow` enrols a pod so. Each of its connections is decided upon and left
alone; what the rules did with it is seen, and both are counted by rule. A rule whose two
sides differ is told with the first connection, and with the rule of Istio's that decided.
Needs root; goes through the agent where one runs.
"""

import argparse
import sys
from typing import Any

from beewire.cli.mesh_common import add_usual, compared_text
from beewire.cli.parser import tell
from beewire.cli.style import Ink, paint, wants_colour
from beewire.cli.table import Column, Row, print_json, print_table

EPILOG = """\
examples:
  beewire mesh up --shadow --cgroup /sys/fs/cgroup/pod-a --netns /run/netns/pod-a \\
      --proxy-cgroup /sys/fs/cgroup/pod-a/proxy --name shop
  beewire mesh shadow shop
  beewire mesh shadow shop --reset

Exit codes: 0 both sides agree on all that was compared, 1 they do not, or there is no such
pod, 2 the command line is wrong."""

COLUMNS = (
    Column("WAY"),
    Column("RULE"),
    Column("BEEWIRE"),
    Column("IPTABLES"),
    Column("TIMES", right=True),
    Column("FIRST"),
)
_WORDS = {
    "PASS": "leaves alone",
    "TO_OUTBOUND": "to the sidecar, out",
    "TO_INBOUND": "to the sidecar, in",
    "TO_DNS": "to the resolver",
    "REFUSE": "refuses",
    "ELSEWHERE": "elsewhere",
    "NOTHING": "not met",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh shadow`."""
    parser.epilog = EPILOG
    parser.add_argument("pod", metavar="POD", help="its name, id or UID")
    parser.add_argument(
        "--reset", action="store_true", help="count anew: Istio's rules have changed"
    )
    add_usual(parser)


def run(args: argparse.Namespace) -> int:
    """Tell it."""
    from beewire.mesh.agent import Mesh  # noqa: PLC0415 - `--help` needs none of it

    with Mesh() as mesh:
        told = mesh.compared(args.pod, forget=args.reset)
    if args.json:
        print_json(told)
    else:
        tell(args, f"id {told['id']}")
        print(heading(told))
        print_compared(told)
    return 1 if told["disagreed"] else 0


def heading(told: dict[str, Any]) -> str:
    """Who acts in a pod, and what was compared."""
    beewire, rules = told["mode"] == "acting", told["rules_act"]
    who = "Beewire acts" if beewire else "Istio's rules act"
    if beewire and rules:
        who = "Beewire acts, and Istio's rules do, too"
    elif not beewire and not rules:
        who = "NOBODY acts: Istio's rules are gone, or passed over"
    return f"{told['name']}: {who}; {compared_text(told)}"


def print_compared(told: dict[str, Any]) -> None:
    """A table of outcomes, then what differs, in sentences."""
    if told["rows"]:
        print()
        print_table(COLUMNS, [_row(row) for row in told["rows"]])
    colour = wants_colour(sys.stdout)
    for text in told["disagreements"]:
        print()
        print(f"{paint('disagreement', Ink.BAD, colour=colour)}: {text}")


def _row(row: dict[str, Any]) -> Row:
    return Row(
        (
            "out" if row["direction"] == "outbound" else "in",
            row["rule"],
            _WORDS[row["beewire"]],
            _WORDS[row["iptables"]],
            f"{row['times']:,}",
            row["example"],
        )
    )
