"""Tell how pods are: what serves them, what was decided, and what goes past the sidecar.

Without POD: the node, its agent and all pods. What cannot be captured is listed with the
reason: kernel sockets, connections older than the enrolment, processes of the pod in
another namespace, pods on the host's network. Needs root; changes nothing.
"""

import argparse
import sys
from typing import Any

from beewire.cli.mesh_common import add_usual, bypass_lines, compared_text, counted
from beewire.cli.mesh_straight import straight_lines
from beewire.cli.style import Ink, paint, wants_colour
from beewire.cli.table import print_json

EPILOG = """\
examples:
  beewire mesh status
  beewire mesh status shop -v
  beewire mesh status --json | python3 -m json.tool

Exit codes: 0 all is as it should be, 1 a pod has a problem or there is no such pod, 2 the
command line is wrong. What cannot be captured is told, and is no problem."""

MOST = 5  # things past a sidecar that are shown without -v


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh status`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "pod", nargs="?", default="", metavar="POD", help="one pod only"
    )
    add_usual(parser)


def run(args: argparse.Namespace) -> int:
    """Tell it."""
    from beewire.mesh.agent import Mesh  # noqa: PLC0415 - `--help` needs none of it

    with Mesh() as mesh:
        told = mesh.status(args.pod)
    if args.json:
        print_json(told)
    else:
        lines = (
            pod_lines(told, args.verbose)
            if args.pod
            else node_lines(told, args.verbose)
        )
        print("\n".join(lines))
    return 1 if told["problems"] else 0


def node_lines(told: dict[str, Any], verbose: bool) -> list[str]:  # noqa: FBT001 - as -v
    """The node, then each pod."""
    agent = f"agent: process {told['agent']}" if told["agent"] else "agent: none runs"
    lines = [f"{agent}; {counted(len(told['pods']), 'pod')}; pins: {told['pins']}"]
    for pod in told["pods"]:
        lines += ["", *pod_lines(pod, verbose)]
    for each in told["uncaptured"]:
        lines += ["", f"{each['kind']} {each['what']}: {each['why']}"]
    for each in told["advice"]:
        lines += ["", f"advice: {each}"]
    return lines


def pod_lines(pod: dict[str, Any], verbose: bool) -> list[str]:  # noqa: FBT001 - as -v
    """One pod: a heading, then a line for each thing."""
    colour = wants_colour(sys.stdout)
    good = pod["state"] == "enrolled" and not pod["problems"]
    ink = Ink.GOOD if good else Ink.DOUBT
    heading = paint(f"{pod['name']}: {pod['state']}", ink, colour=colour)
    lines = [f"{heading} (id {pod['id']})"]
    lines.append(f"  addresses   {', '.join(pod['addresses']) or 'not known yet'}")
    if verbose:
        lines += [
            f"  {word:<11} {pod[field] or '-'}"
            for word, field in (
                ("namespace", "netns"),
                ("cgroup", "cgroup"),
                ("its sidecar", "proxy_cgroup"),
            )
        ]
    if pod["links"]:
        attached = sum(how == "attached" for how in pod["links"].values())
        lines.append(f"  programs    {attached} of {len(pod['links'])} attached")
        listens = "listens" if pod["listener"] else "does not listen"
        lines.append(f"  sidecar     {listens}")
    if pod["mode"] == "shadow":
        compared = compared_text(pod["compared"])
        lines.append(f"  mode        shadow: Istio's rules act; {compared}")
    lines += bypass_lines(pod["bypass"], verbose=verbose)
    lines += straight_lines(pod["straight"], verbose=verbose)
    counts = ", ".join(f"{name} {n:,}" for name, n in pod["decisions"].items())
    lines.append(f"  decisions   {counts or 'none yet'}")
    lines += _uncaptured_lines(pod["uncaptured"], verbose)
    if verbose:
        lines += [f"  beside it   {each['says']}" for each in pod["beside"]]
    lines += [
        f"  {paint('problem', Ink.BAD, colour=colour)}     {each}"
        for each in pod["problems"]
    ]
    return lines


def _uncaptured_lines(found: list[dict[str, str]], verbose: bool) -> list[str]:  # noqa: FBT001
    shown = found if verbose else found[:MOST]
    lines = [
        f"  past it     {each['kind']}: {each['what']}"
        + (f" ({each['why']})" if verbose else "")
        for each in shown
    ]
    if len(found) > len(shown):
        lines.append(f"  past it     and {len(found) - len(shown)} more: -v shows them")
    return lines
