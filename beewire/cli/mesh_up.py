"""Enrol a pod: from now on its connections go through its sidecar.

The pod is named by its UID (Kubernetes), the id of podman's pod, or as CNI announced it;
by a manifest, which says its configuration, too; or by its cgroup, its network namespace
and the sidecar's cgroup. A sidecar that listens already is found before any program acts.
A pod that is enrolled gets the configuration that is asked for. Goes through the agent
where one runs; needs root.
"""

import argparse
from typing import TYPE_CHECKING

from beewire.cli.mesh_common import add_usual, config_text, counted, named
from beewire.cli.mesh_config import (
    add_bypass,
    add_configuration,
    bypass_settings,
    pod_manifest,
)
from beewire.cli.parser import tell
from beewire.cli.table import print_json

if TYPE_CHECKING:
    from beewire.mesh.agent import PodRecord

EPILOG = """\
examples:
  beewire mesh up --pod 6a2d7c1e-0f5b-4c9e-9a51-3a2f1c7d9b10
  beewire mesh up --cgroup /sys/fs/cgroup/pod-a --netns /run/netns/pod-a \\
      --proxy-cgroup /sys/fs/cgroup/pod-a/proxy --name shop
  beewire mesh up --pod shop.yaml --close-existing
  beewire mesh up --pod shop --bypass all
  beewire mesh up --pod shop --istio-flags="-b '*' -i '*' -o 3306"

Exit codes: 0 enrolled, 1 it could not be done and nothing has changed, 2 the command line
is wrong, or the configuration."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh up`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--name", default="", help="what to call it (default: found out)"
    )
    parser.add_argument("--cgroup", default="", metavar="DIR", help="the whole pod's")
    parser.add_argument("--netns", default="", metavar="PATH", help="its namespace")
    parser.add_argument(
        "--proxy-cgroup",
        default="",
        metavar="DIR",
        help="the sidecar's, below --cgroup",
    )
    parser.add_argument(
        "--close-existing",
        action="store_true",
        help="end connections that are older than the enrolment",
    )
    parser.add_argument(
        "--sidecar-later",
        action="store_true",
        help="enrol also where a sidecar runs and does not listen yet",
    )
    parser.add_argument(
        "--shadow",
        action="store_true",
        help="leave it to Istio's rules: decide, compare, and act on nothing",
    )
    parser.add_argument(
        "--beside-rules",
        action="store_true",
        help="act also where Istio's rules do; without it that is refused",
    )
    add_configuration(parser)
    add_bypass(parser)
    add_usual(parser)


def run(args: argparse.Namespace) -> int:
    """Enrol the pod."""
    from beewire.mesh.agent import Mesh, Target  # noqa: PLC0415 - `--help` needs none

    name, pod = args.name, ""
    if args.pod is not None and not args.pod.is_file():
        pod, args.pod = str(args.pod), None
    elif (manifest := pod_manifest(args)) is not None:
        name = name or f"{manifest.namespace}/{manifest.name}"
        pod = "" if args.cgroup else manifest.uid or name
    target = Target(
        name=name,
        pod=pod,
        cgroup=args.cgroup,
        netns=args.netns,
        proxy_cgroup=args.proxy_cgroup,
        addresses=tuple(args.address),
        config=config_text(args),
        change=bypass_settings(args),
        close_existing=args.close_existing,
        sidecar_later=args.sidecar_later,
        shadow=args.shadow,
        beside_rules=args.beside_rules,
    )
    with Mesh() as mesh:
        record = mesh.up(target)
    tell(args, f"{named(record)} is enrolled; its cgroup is {record.cgroup}")
    if args.json:
        print_json(record.to_json())
    else:
        _print(args, record)
    return 0


def _print(args: argparse.Namespace, record: "PodRecord") -> None:
    how = "in shadow mode " if args.shadow else ""
    print(f"{record.name} is enrolled {how}({', '.join(record.addresses)})")
    if args.close_existing:
        print(f"ended {counted(record.closed, 'older connection')}")
    if record.older:
        older = counted(len(record.older), "older connection")
        print(f"{older} past the sidecar: --close-existing ends such")
