"""The demo under another kernel, where this one refuses what it needs.

`beewire demo` then says so, and runs itself in a guest: that shows that it works. How
fast it is cannot be seen there, as most guests have no processor of their own.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from beewire import guest
from beewire.cli.checks import Finding, State, checks
from beewire.cli.probes import probe_findings
from beewire.errors import GuestError

KERNEL = "6.12"
SIZE = guest.Size(memory_mb=3072, cpus=2)
# What comes from files is the same in the guest.
SAME_THERE = "lab"


def refusals() -> list[Finding]:
    """Why the kernel does not let the demo run; empty where it does.

    Empty, too, where the lab's programs are missing: a guest would have none either, and
    inside of a guest, which is the last resort.
    """
    if guest.VARIABLE in os.environ:
        return []
    findings = [check() for check in checks()]
    obstacles = [each for each in findings if each.demo and each.state is State.BAD]
    if any(each.group == SAME_THERE for each in obstacles):
        return []
    if not obstacles:
        # Tried, and not only looked up: lockdown and security modules have their say.
        obstacles = [
            each for each in probe_findings() if each.demo and each.state is State.BAD
        ]
    return obstacles


def run_in_guest(words: Sequence[str], why: Sequence[Finding]) -> int:
    """Run `beewire demo` with the arguments `words` in a guest; gives its exit code.

    Raises:
        GuestError: there can be no guest; `why` is told, too.
    """
    reasons = "; ".join(f"{each.name}: {each.detail}" for each in why)
    tell(f"this machine refuses what the demo needs ({reasons})")
    try:
        share = guest.usual_share()
        kernel = guest.obtain(KERNEL, tell, flavour=share.flavour)
        tell(
            f"running it under Linux {kernel.release} in a virtual machine: that shows"
            " that it works, not how fast"
        )
        command = guest.Command(
            [sys.executable, "-m", "beewire", "demo", *words], Path.cwd(), os.environ
        )
        ended = guest.run(
            kernel,
            command,
            guest.Options(size=SIZE, share=share),
            output=guest.writer(sys.stdout.fileno()),
            errors=guest.writer(sys.stderr.fileno()),
        )
    except GuestError as error:
        error.add_note(f"and here the demo cannot run: {reasons}")
        raise
    return ended.exit_code


def tell(text: str) -> None:
    """Say what is going on."""
    print(f"beewire: {text}", file=sys.stderr, flush=True)
