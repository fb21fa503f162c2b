"""The short path between sockets of this node: which pods have it, off, and on.

`off` takes every live connection back to TCP, and no byte is lost: what waits on the short
path is read first. It holds until `on`, over restarts of the agent, updates, and for pods
that come later; and it needs no agent, because the programs read it in a pinned map.
`status` tells each pod's tier, and why it has no more. Needs root.
"""

import argparse
import sys
from typing import Any

from beewire.cli.mesh_common import add_usual, bypass_lines, counted
from beewire.cli.parser import tell
from beewire.cli.style import Ink, paint, wants_colour
from beewire.cli.table import print_json
from beewire.errors import UsageError

EPILOG = """\
examples:
  beewire mesh bypass status
  beewire mesh bypass off                 every pod of this node
  beewire mesh bypass off --pod shop
  beewire mesh bypass on

Exit codes: 0 it worked, 1 there is no such pod or it could not be done, 2 the command line
is wrong."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh bypass`."""
    parser.epilog = EPILOG
    parser.add_argument("what", choices=("status", "off", "on"), help="what to do")
    parser.add_argument("--pod", metavar="POD", help="one pod only")
    add_usual(parser)


def run(args: argparse.Namespace) -> int:
    """Tell it, or switch it."""
    if (
        args.pod == ""
    ):  # of a script whose variable is empty: all of the node is not meant
        raise UsageError("--pod '' names no pod; without --pod it is every one")
    args.pod = args.pod or ""
    does = {"status": status, "off": off, "on": on}
    return does[args.what](args)


def status(args: argparse.Namespace) -> int:
    """Tell how far each pod's connections are shortened."""
    from beewire.mesh.agent import Mesh  # noqa: PLC0415 - `--help` needs none of it

    with Mesh() as mesh:
        told = mesh.status(args.pod)
    pods = [told] if args.pod else told["pods"]
    if args.json:
        print_json({"pods": {pod["name"]: pod["bypass"] for pod in pods}})
        return 0
    if not pods:
        print("no pod is enrolled")
    colour = wants_colour(sys.stdout)
    for pod in pods:
        print(paint(pod["name"], Ink.BOLD, colour=colour))
        print("\n".join(bypass_lines(pod["bypass"], verbose=args.verbose)))
    return 0


def off(args: argparse.Namespace) -> int:
    """Take live connections back to TCP."""
    from beewire.mesh.agent import Mesh  # noqa: PLC0415 - as above

    with Mesh() as mesh:
        names = mesh.bypass_off(args.pod)
    for name in names:
        tell(args, f"{name}: off")
    if args.json:
        print_json({"off": names, "node": not args.pod})
    elif args.pod:
        name = names[0]
        print(f"{name}: on TCP until `beewire mesh bypass on --pod {name}`")
    else:
        pods = counted(len(names), "pod")
        print(f"all connections of {pods} are on TCP until `beewire mesh bypass on`")
    return 0


def on(args: argparse.Namespace) -> int:
    """Let connections go by the short path again."""
    from beewire.mesh.agent import Mesh  # noqa: PLC0415 - as above

    with Mesh() as mesh:
        names = mesh.bypass_on(args.pod)
        told = {name: mesh.status(name)["bypass"] for name in names}
    if args.json:
        print_json({"on": told, "node": not args.pod})
        return 0
    for line in on_lines(args, told):
        print(line)
    return 0


def on_lines(args: argparse.Namespace, told: dict[str, Any]) -> list[str]:
    """What is on again, and what is not."""
    if args.pod:
        return [f"{name}: {each['says']}" for name, each in told.items()]
    have = sum(each["tier"] != "off" for each in told.values())
    lines = [f"the short path is on for {counted(have, 'pod')}"]
    for name, each in told.items():
        if each["off"]:
            lines.append(f"{name} stays off: `beewire mesh bypass on --pod {name}`")
        elif each["tier"] == "off":
            lines.append(f"{name}: {each['says']}")
        else:
            tell(args, f"{name}: {each['says']}")
    return lines
