"""Run the agent of this node: it takes pods over a Unix socket, and looks after them.

Pods stay enrolled when it ends, however it ends; another takes over. There is one agent
on a node. Needs root.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from beewire.cli.mesh_common import counted
from beewire.cli.parser import add_verbose

if TYPE_CHECKING:
    from beewire.mesh.agent import Directories

EPILOG = """\
examples:
  beewire agent                 serve until SIGTERM
  beewire agent --once          put in order what is there, say what was done, and end
  beewire agent --unit > /etc/systemd/system/beewire.service
  systemctl enable --now beewire

BEEWIRE_PINS and BEEWIRE_RUN name other directories than /sys/fs/bpf/beewire and
/run/beewire/agent.

Exit codes: 0 it was told to end, 1 another agent runs, it failed, or (--once) a pod could
not be put in order, 2 the command line is wrong."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire agent`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--once", action="store_true", help="put the node in order, and end"
    )
    parser.add_argument(
        "--unit", action="store_true", help="print the unit for systemd, and end"
    )
    parser.add_argument(
        "--json", action="store_true", help="with --once: print what was done as JSON"
    )
    parser.add_argument(
        "--no-qualify",
        dest="qualify",
        action="store_false",
        help="do not judge this kernel for the short path: `beewire mesh qualify` does",
    )
    parser.add_argument(
        "--short-page-lists",
        action="store_true",
        help="set vm.percpu_pagelist_high_fraction=8000 where it is 0 and lists of free"
        " pages may outgrow caches, which makes large bodies dear; until uninstalled",
    )
    add_verbose(parser)


def run(args: argparse.Namespace) -> int:
    """Serve, or put the node in order."""
    from beewire.mesh.agent.directories import node_of  # noqa: PLC0415 - `--help` needs none

    if args.unit:
        print(unit(), end="")
        return 0
    directories = node_of(os.environ)
    return once(args, directories) if args.once else serve(args, directories)


def unit() -> str:
    """The unit for systemd, which starts the command that was called."""
    import beewire.mesh.agent as package  # noqa: PLC0415 - `--help` needs none

    text = (Path(package.__path__[0]) / "beewire.service").read_text()
    beside = Path(sys.executable).with_name("beewire")
    command = str(beside) if beside.exists() else f"{sys.executable} -m beewire"
    return text.replace("@BEEWIRE@", command)


def serve(args: argparse.Namespace, directories: "Directories") -> int:
    """Be the agent until SIGTERM."""
    import asyncio  # noqa: PLC0415 - it takes 50 ms

    from beewire.mesh.agent.page_lists import keep_short  # noqa: PLC0415 - as above
    from beewire.mesh.agent.server import Agent  # noqa: PLC0415 - as above

    async def live() -> None:
        agent = Agent(directories, say, judges=args.qualify)
        try:
            if args.short_page_lists:
                keep_short(directories, say)
            await agent.run()
        finally:
            agent.close()

    if args.verbose:
        say(f"records in {directories.run}, pins in {directories.pins}")
    asyncio.run(live())
    return 0


def once(args: argparse.Namespace, directories: "Directories") -> int:
    """Put in order what is there."""
    from beewire.mesh.agent.operations import Operations, silent  # noqa: PLC0415 - as above

    with Operations(directories, say if args.verbose else silent) as pods:
        upgraded = pods.renew()
        found = pods.adopt()
    if args.json:
        told = {**found._asdict(), "upgraded": upgraded and upgraded._asdict()}
        print(json.dumps(told, indent=2))
        return int(bool(found.failed))
    if upgraded:
        print(f"upgraded: {', '.join((*upgraded.programs, *upgraded.maps))}")
    served = "is served" if len(found.kept) == 1 else "are served"
    removed = "was removed" if len(found.removed) == 1 else "were removed"
    kept = counted(len(found.kept), "pod")
    print(f"{kept} {served}, {len(found.removed)} {removed}")
    for text in (*found.removed, *found.mended):
        print(f"  {text}")
    for text in found.failed:
        say(f"cannot be put in order: {text}")
    return int(bool(found.failed))


def say(text: str) -> None:
    """One line of the agent's log."""
    print(f"beewire: {text}", file=sys.stderr, flush=True)
