"""Where time goes: a flame graph of what runs on the CPUs, or of what waits.

Samples the stacks of the whole machine, of processes, of a cgroup, or of a command that
it starts, and writes them as a picture (.svg), a page (.html), or folded text for other
tools (.folded), which also goes to standard output where no file is named.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from beewire.cli.child import child
from beewire.cli.run import seconds
from beewire.errors import UsageError
from beewire.symbols import Symbolizer
from beewire.trace.flame import Graph, page, svg
from beewire.trace.profile import (
    Options,
    Profile,
    Recorder,
    folded,
    resolve,
    unwind_fault,
)

EPILOG = """\
examples:
  beewire profile --seconds 10 -o machine.svg
  beewire profile -p 1234 --seconds 30 -o server.html
  beewire profile --off-cpu -p 1234 --seconds 10 -o waiting.html
  beewire profile -o sort.svg -- python3 sort.py
  beewire profile --cgroup /sys/fs/cgroup/system.slice --seconds 10 > stacks.folded"""

FORMATS = (".svg", ".html", ".folded")
MOST_FREQUENT = 10_000
# Samples a second: each copies 16 KB, and takes a quarter of a millisecond to follow.
MOST_UNWOUND = 2000
# Waits that are not worth a copy of the stack.
SHORT_US = 1000
# Of the user stacks: below that a word about frame pointers helps nobody.
WORTH_TELLING = 0.02


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire profile`."""
    parser.epilog = EPILOG
    parser.usage = "beewire profile [OPTION ...] [-- COMMAND ...]"
    parser.add_argument(
        "command",
        metavar="COMMAND",
        nargs="*",
        default=[],
        help="start this, and profile it and what it starts, until it ends",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=output,
        help="FILE.svg, FILE.html or FILE.folded",
    )
    parser.add_argument(
        "--seconds",
        type=seconds,
        metavar="S",
        help="for so long (default: until Ctrl-C, or the end of what is looked at)",
    )
    parser.add_argument(
        "--frequency",
        type=frequency,
        default=99,
        metavar="HZ",
        help="samples a second and CPU (99; not a round number, which many timers have)",
    )
    parser.add_argument(
        "--unwind",
        action=argparse.BooleanOptionalAction,
        help="find callers by unwind tables, or by frame pointers (default: by tables"
        " where that can be done in time)",
    )
    parser.add_argument(
        "--off-cpu", action="store_true", help="time spent waiting instead of running"
    )
    parser.add_argument(
        "--min-us",
        type=microseconds,
        metavar="US",
        help="off-CPU: leave shorter waits out (1; with --unwind 1000)",
    )
    what = parser.add_argument_group("what is looked at (default: everything)")
    what.add_argument(
        "-p",
        "--pid",
        action="append",
        type=pid,
        default=[],
        metavar="PID",
        help="a process with its threads; may be given again",
    )
    what.add_argument(
        "--cgroup", metavar="PATH", default="", help="processes in a cgroup2 directory"
    )
    side = what.add_mutually_exclusive_group()
    side.add_argument("--kernel-only", action="store_true", help="kernel stacks only")
    side.add_argument("--user-only", action="store_true", help="user stacks only")


def output(text: str) -> Path:
    """A file whose ending says what is written to it."""
    path = Path(text)
    if path.suffix not in FORMATS:
        raise argparse.ArgumentTypeError(
            f"{text} ends in none of {', '.join(FORMATS)}, which say what is written"
        )
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {path.parent}")
    return path


def frequency(text: str) -> int:
    """A number of samples a second."""
    number = int(text)
    if not 0 < number <= MOST_FREQUENT:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to {MOST_FREQUENT}")
    return number


def microseconds(text: str) -> int:
    """A time, zero or more."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def pid(text: str) -> int:
    """The number of a process that there is."""
    number = int(text)
    if number <= 0 or not Path(f"/proc/{number}").is_dir():
        raise argparse.ArgumentTypeError(f"there is no process {text}")
    return number


def run(args: argparse.Namespace) -> int:
    """Record, resolve, write; then say how whole it is."""
    if args.command and (args.pid or args.cgroup):
        raise UsageError("--pid and --cgroup have no use with a COMMAND to profile")
    options = Options(
        pids=tuple(args.pid),
        cgroup=args.cgroup,
        frequency=args.frequency,
        off_cpu=args.off_cpu,
        kernel=not args.user_only,
        user=not args.kernel_only,
        unwind=unwinds(args),
    )
    if options.off_cpu:
        short = SHORT_US if options.unwind else 1
        options = options._replace(
            least_us=short if args.min_us is None else args.min_us
        )
    args.subject = subject(args)
    with Symbolizer() as symbols:
        profile = record(options, symbols, args)
    write(profile, args)
    for note in notes(profile):
        print(f"beewire: {note}", file=sys.stderr)
    return 0


def unwinds(args: argparse.Namespace) -> bool:
    """Whether callers are found by unwind tables."""
    if args.unwind is not None or args.kernel_only:
        return bool(args.unwind)
    if args.off_cpu:
        some = args.pid or args.cgroup or args.command
        return bool(some) and not unwind_fault()
    samples = args.frequency * (os.cpu_count() or 1)
    return samples <= MOST_UNWOUND and not unwind_fault()


def record(options: Options, symbols: Symbolizer, args: argparse.Namespace) -> Profile:
    """Record until the time is over, the command ends, or Ctrl-C."""
    with child(args.command) as started:
        if started:
            options = options._replace(pids=(started.pid,), children=True)
        with Recorder(options, symbols) as recorder:
            if started:
                started.go()
            print(f"beewire: {doing(options, args)}", file=sys.stderr)
            with interruptible(), endings(options.pids) as ends:
                recorder.wait(args.seconds, ends)
            return resolve(recorder.finish(), symbols)


@contextmanager
def endings(pids: tuple[int, ...]) -> Iterator[list[int]]:
    """Descriptors that are readable when these processes have ended."""
    with ExitStack() as stack:
        found = []
        for number in pids:
            try:
                fd = os.pidfd_open(number)
            except ProcessLookupError:
                continue
            stack.callback(os.close, fd)
            found.append(fd)
        yield found


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the body, and no more."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # after the terminal's ^C
    finally:
        signal.signal(signal.SIGTERM, before)


def doing(options: Options, args: argparse.Namespace) -> str:
    """What is being done, for who waits."""
    how = "timing waits" if options.off_cpu else f"sampling at {options.frequency} Hz"
    end = f"{args.seconds:g} seconds" if args.seconds else "Ctrl-C ends"
    if args.command:
        end = f"until {args.command[0]} ends"
    return f"{how} of {args.subject}; {end}"


def subject(args: argparse.Namespace) -> str:
    """What is looked at, by names that processes have now."""
    if args.command:
        return " ".join(args.command)
    if args.pid:
        names = [f"{name(number)} ({number})" for number in args.pid]
        return ", ".join(names)
    return f"cgroup {args.cgroup}" if args.cgroup else f"all of {os.uname().nodename}"


def name(number: int) -> str:
    """A process's name, "process" when it has ended."""
    try:
        return Path(f"/proc/{number}/comm").read_text(errors="replace").strip()
    except OSError:
        return "process"


# --- writing ---


def write(profile: Profile, args: argparse.Namespace) -> None:
    """Write the profile in the form that the file's name asks for."""
    unit = 1000 if args.off_cpu else 1
    path: Path | None = args.output
    if path is None or path.suffix == ".folded":
        text = folded(profile.stacks, unit)
    else:
        graph = Graph(profile.stacks, title(args), subtitle(profile), show(profile))
        text = svg(graph) if path.suffix == ".svg" else page(graph, notes(profile))
    if path is None:
        sys.stdout.write(text)
        return
    path.write_text(text, encoding="utf-8")
    print(f"beewire: {subtitle(profile)}; wrote {path}", file=sys.stderr)


def title(args: argparse.Namespace) -> str:
    """The headline."""
    kind = "Off-CPU" if args.off_cpu else "On-CPU"
    return f"{kind} time: {args.subject}"


def subtitle(profile: Profile) -> str:
    """How much was seen, and how."""
    recording = profile.recording
    seen = show(profile)(profile.total)
    if recording.options.off_cpu:
        least = duration(1000 * recording.options.least_us)
        return f"{seen} of waiting in {recording.seconds:.1f} s, by waits of {least} and more"
    rate = recording.options.frequency
    return f"{seen} in {recording.seconds:.1f} s, {rate} a second and CPU"


def show(profile: Profile) -> Callable[[int], str]:
    """How values are written."""
    if profile.recording.options.off_cpu:
        return duration
    return lambda value: f"{value:,} sample{'' if value == 1 else 's'}"


def duration(ns: int) -> str:
    """A time in the unit that suits it."""
    for size, unit in ((10**9, "s"), (10**6, "ms"), (10**3, "us")):
        if ns >= size:
            return (
                f"{ns / size:.3g} {unit}"
                if ns < 1000 * size
                else f"{ns / size:,.0f} {unit}"
            )
    return f"{ns} ns"


def notes(profile: Profile) -> tuple[str, ...]:
    """What the profile lacks, in sentences that say what helps."""
    found = []
    recording, whole = profile.recording, profile.wholeness
    if not profile.stacks:
        found.append("nothing was seen: nothing ran there, or waited and went on")
    if whole.total and sum(whole.early.values()) >= WORTH_TELLING * whole.total:
        found.append(early(profile))
    if whole.deep:
        share = 100 * whole.deep / whole.total
        found.append(
            f"{share:.1f} % of the user stacks are deeper than the frames that are taken:"
            " their outermost callers are missing"
        )
    if whole.lost:
        found.append(
            f"{show(profile)(whole.lost)} of stacks found no room, and stand under"
            " [stack lost]"
        )
    if recording.lost:
        found.append(
            f"{recording.lost:,} samples were lost: there were too many stacks"
        )
    if whole.unseen:
        found.append(
            f"{whole.unseen} {'process' if whole.unseen == 1 else 'processes'} ended before"
            " anybody could look: their user frames are missing"
        )
    if profile.kernel_fault:
        found.append(f"kernel functions have no names: {profile.kernel_fault}")
    return tuple(found)


def early(profile: Profile) -> str:
    """The sentence on stacks that end too soon."""
    whole = profile.wholeness
    worst = [
        f"{module} ({100 * value / whole.total:.0f} %)"
        for module, value in list(whole.early.items())[:3]
    ]
    share = 100 * sum(whole.early.values()) / whole.total
    if profile.recording.options.unwind:
        why = "code without unwind tables, or more stack than the 16 KB that are copied"
    else:
        why = "code without frame pointers (-fno-omit-frame-pointer keeps them)"
        why += "" if unwind_fault() else "; --unwind does without them"
    return (
        f"{share:.0f} % of the user stacks end before a thread's first function, in"
        f" {', '.join(worst)}: callers are missing behind {why}"
    )
