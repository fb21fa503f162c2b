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
        "mesh",
        "beewire.cli.mesh",
        "interception in place of istio-iptables: its rules, its proof, its agent",
    ),
    Command(
        "agent",
        "beewire.cli.agent",
        "the process of a node that takes pods over a socket and looks after them",
    ),
    Command(
        "run",
        "beewire.cli.run",
        "attach every program of a Python file and print what they report",
    ),
    Command(
        "profile",
        "beewire.cli.profile",
        "where time goes: a flame graph of what runs, or of what waits",
    ),
    Command(
        "check",
        "beewire.cli.check",
        "compile the programs of a Python file, and say what is wrong with them",
    ),
    Command(
        "build",
        "beewire.cli.build",
        "write the programs of a Python file to a BPF object that any loader takes",
    ),
    Command(
        "dump",
        "beewire.cli.dump",
        "show what is in a BPF object, or in a program that the kernel runs",
    ),
    Command(
        "ps",
        "beewire.cli.ps",
        "list the programs in the kernel: who holds them, and where they run",
    ),
    Command(
        "top",
        "beewire.cli.top",
        "show live what the programs in the kernel cost",
    ),
    Command(
        "maps",
        "beewire.cli.maps",
        "list the maps in the kernel",
    ),
    Command(
        "links",
        "beewire.cli.links",
        "list the links in the kernel: which program runs where",
    ),
    Command(
        "show",
        "beewire.cli.show_object",
        "show all that is known of one program, map or link",
    ),
    Command(
        "detach",
        "beewire.cli.detach",
        "detach a link of any process, or programs that no link holds",
    ),
    Command(
        "allow",
        "beewire.cli.allow",
        "whether this machine's policy lets an object be loaded, and by which rule",
    ),
    Command(
        "stubs",
        "beewire.cli.stubs",
        "write Kernel classes of this kernel's structs, for programs and editors",
    ),
    Command(
        "doctor",
        "beewire.cli.doctor",
        "what this machine can and cannot do for Beewire, and what to change",
    ),
    Command(
        "guest",
        "beewire.cli.guest",
        "run a command under another kernel, in a virtual machine",
    ),
    Command(
        "bench",
        "beewire.cli.bench",
        "run a benchmark of a Beewire checkout",
    ),
)
