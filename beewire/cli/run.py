"""Attach every program of a Python file, and print what they report until Ctrl-C.

Prints each record of each ring buffer or perf buffer, and each line that programs print
with printk, as it arrives; then what is in the maps. If FILE defines main(), that is
called instead, with the programs attached.
"""

import argparse
import selectors
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from beewire.bpf.author import Program, SockHash, SockMap
from beewire.bpf.author.collection import Reached, reach
from beewire.bpf.author.ring import Records
from beewire.bpf.isa import CALL, CALL_HELPER, Insn
from beewire.bpf.kernel import Link
from beewire.cli import printk, show
from beewire.cli.userfile import STDIN, import_file, programs_of, told
from beewire.errors import BeewireError, UsageError

EPILOG = """\
examples:
  beewire run examples/exec_time.py
  beewire run count.py --seconds 10
  beewire run connect.py --cgroup /sys/fs/cgroup/user.slice
  beewire run packets.py --interface eth0 --records 100"""

NOUNS = {
    "cgroup": "a cgroup",
    "interface": "an interface",
    "netns": "a network namespace",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire run`."""
    parser.epilog = EPILOG
    parser.usage = "beewire run [OPTION ...] FILE.py [ARGUMENT ...]"
    parser.add_argument(
        "file", metavar="FILE.py", type=Path, help="the programs; - is standard input"
    )
    parser.add_argument(
        "arguments",
        metavar="ARGUMENT",
        nargs="*",
        default=[],
        help="for the file, which finds them in sys.argv",
    )
    parser.add_argument(
        "--seconds", type=seconds, metavar="S", help="end after so many seconds"
    )
    parser.add_argument(
        "--records",
        type=records,
        metavar="N",
        help="end after so many records or lines",
    )
    targets = parser.add_argument_group("where to attach (tracepoints need nothing)")
    targets.add_argument(
        "--cgroup", metavar="PATH", help="cgroup2 directory for programs on a cgroup"
    )
    targets.add_argument(
        "--interface", metavar="NAME", help="network interface for XDP programs"
    )
    targets.add_argument(
        "--netns",
        metavar="PATH",
        help="network namespace for sk_lookup programs (default: this one)",
    )


def seconds(text: str) -> float:
    """A time above zero."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def records(text: str) -> int:
    """A number above zero."""
    number = int(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def run(args: argparse.Namespace) -> int:
    """Attach, print, detach; or let the file's main() do the middle."""
    path = args.file if args.file == STDIN else args.file.resolve()
    module = import_file(path, args.arguments)
    programs = list(programs_of(module))
    if not programs:
        raise UsageError(
            f"{args.file} has no programs: mark a function with the hook that runs it,"
            " as in @tracepoint('sched:sched_process_exec')"
        )
    reached = reach(module)
    places = targets(args, reached)
    main = main_of(module)
    if main is not None and args.records:
        raise UsageError(
            f"--records has no use: main() of {args.file} does the reading"
        )
    rings = [each for each in reached.maps.values() if isinstance(each, Records)]
    rings = [each for each in rings if each.is_typed]
    with ExitStack() as stack:
        prints = main is None and any(uses_printk(program) for program in programs)
        if args.records and not prints and not rings:
            raise UsageError(
                f"--records has no use: no program of {args.file} sends records or"
                " prints; end it with --seconds or Ctrl-C"
            )
        lines = stack.enter_context(printk.printk_lines()) if prints else None
        links = stack.enter_context(ExitStack())
        for program in programs:
            if program.takes != RUN:
                links.enter_context(attach(program, places))
        if main is not None:
            return call(main, path, args.seconds)
        watch(programs, rings, lines, args)
        links.close()
        for line in show.dropped_text(rings):
            print(line, file=sys.stderr)
        for line in show.maps_text(reached.maps.values()):
            print(line)
        for line in show.globals_text(reached.globals.values()):
            print(line)
    return 0


def main_of(module: ModuleType) -> Callable[[], object] | None:
    """The file's main(), unless that is itself a program."""
    found: object = getattr(module, "main", None)
    return found if callable(found) and not isinstance(found, Program) else None


def call(main: Callable[[], object], path: Path, duration: float | None) -> int:
    """Call the file's main(); the number it returns is the exit code."""
    try:
        interrupt_after(duration)
        result = main()
    except (BeewireError, BrokenPipeError):
        raise
    except KeyboardInterrupt:
        if duration is None:
            raise
        return 0
    except Exception as error:
        raise told(error, path) from error
    return result if isinstance(result, int) else 0


def interrupt_after(duration: float | None) -> None:
    """Let the end of the time, and SIGTERM, do what Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGALRM, interrupt)
    if duration is not None:
        signal.setitimer(signal.ITIMER_REAL, duration)


# --- where each program goes ---


RUN = "request"  # programs that are run, not attached


def targets(args: argparse.Namespace, reached: Reached) -> dict[str, object]:
    """What programs can be attached to, by what Program.takes calls it.

    Raises:
        UsageError: a program has no place, or a place has no program.
    """
    places: dict[str, object] = {
        name: getattr(args, name) for name in ("cgroup", "interface", "netns")
    }
    kinds = {
        program.takes: program
        for program in reached.programs.values()
        if isinstance(program, Program)
    }
    for name, place in places.items():
        if place is not None and name not in kinds:
            raise UsageError(
                f"--{name} has no use: no program of {args.file} is attached to"
                f" {NOUNS[name]}"
            )
    places["netns"] = places["netns"] or "/proc/self/ns/net"
    places["sockets"] = socket_map(reached)
    for name, program in kinds.items():
        if name not in {"", RUN} and places.get(name) is None:
            raise UsageError(missing(program))
    return places


def socket_map(reached: Reached) -> object:
    """The one map of sockets that sk_msg programs are attached to; None if unclear."""
    kinds = (SockMap, SockHash)
    found = [each for each in reached.maps.values() if isinstance(each, kinds)]
    return found[0] if len(found) == 1 else None


def missing(program: Program[Any]) -> str:
    """The sentence that asks for a program's place."""
    if program.takes == "sockets":
        return (
            f"program {program.name!r} is attached to a map of sockets, and the file"
            " has none or several: attach it in main()"
        )
    value = {"cgroup": "PATH", "interface": "NAME"}.get(program.takes)
    if value is None:
        return (
            f"program {program.name!r} is attached to a {program.takes}, which no option"
            " names: attach it in Python"
        )
    return (
        f"program {program.name!r} is attached to {NOUNS[program.takes]}: say to which"
        f" with --{program.takes} {value}"
    )


def attach(program: Program[Any], places: dict[str, object]) -> Link:
    """Attach a program where its kind belongs."""
    return program.attach(places[program.takes]) if program.takes else program.attach()


def uses_printk(program: Program[Any]) -> bool:
    """Whether a program calls a helper that prints; loads the program."""
    insns: tuple[Insn, ...] = program.live.spec.insns
    return any(
        insn.opcode == CALL and insn.src == CALL_HELPER and insn.imm in printk.PRINTING
        for insn in insns
    )


# --- printing ---


def watch(
    programs: list[Program[Any]],
    rings: list[Records[Any]],
    lines: printk.PrintkLines | None,
    args: argparse.Namespace,
) -> None:
    """Print records and lines as they come, until the limit or Ctrl-C."""
    with selectors.DefaultSelector() as selector:
        for ring in rings:
            selector.register(ring.reader, selectors.EVENT_READ, ring)
        if lines is not None:
            selector.register(lines, selectors.EVENT_READ, lines)
        names = ", ".join(program.name for program in programs)
        try:
            interrupt_after(args.seconds)
            print(f"beewire: attached {names}; Ctrl-C ends", file=sys.stderr)
            for count, text in enumerate(arriving(selector), 1):
                print(text)
                if count == args.records:
                    return
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                print(file=sys.stderr)  # after the terminal's ^C
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def arriving(selector: selectors.BaseSelector) -> Iterator[str]:
    """What rings and printk say, as text, for ever."""
    keys = list(selector.get_map().values())
    rings = [key.data for key in keys if isinstance(key.data, Records)]
    # Programs that wake the reader late leave it to look by itself.
    pause = min((ring.latency for ring in rings if ring.wakeup_bytes), default=None)
    while True:
        sys.stdout.flush()
        ready = [key.data for key, _ in selector.select(pause)]
        for ring in rings:
            prefix = f"{ring.name}: " if len(keys) > 1 else ""
            for record in ring.poll():
                yield prefix + show.value_text(record)
        for lines in ready:
            if not isinstance(lines, Records):
                yield from (f"printk: {text}" for text in lines.read())
