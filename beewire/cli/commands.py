"""The subcommands there are. A table, so that `beewire --help` imports none of them."""

from typing import NamedTuple


class Command(NamedTuple):
    """One subcommand: its name, the module that does it, and a line for the list."""

    name: str
    module: str
    summary: str


COMMANDS = (
    Command(
        "demo",
        "beewire.cli.demo",
        "two pods with Envoy sidecars, under iptables and under Beewire",
    ),
    Command(
        "run",
        "beewire.cli.run",
        "attach every program of a Python file and print what they report",
    ),
    Command(
        "doctor",
        "beewire.cli.doctor",
        "what this machine can and cannot do for Beewire, and what to change",
    ),
    Command(
        "bench",
        "beewire.cli.bench",
        "run a benchmark of a Beewire checkout",
    ),
)
