"""Show live what the programs in the kernel cost: CPU time, events, time per run.

100 % is one CPU, all the time. Statistics are on while this runs, and off after it,
however it ends. On a terminal the list is drawn anew; elsewhere one follows the other.
Ctrl-C ends it, with exit code 0. Needs CAP_SYS_ADMIN.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import closing

from beewire.bpf.author import inspection
from beewire.bpf.author.inspection import Cost
from beewire.cli.ps import attachment_text
from beewire.cli.style import wants_colour
from beewire.cli.table import (
    Column,
    Row,
    holders,
    plain,
    table_lines,
    terminal_width,
)
from beewire.errors import UsageError

EPILOG = """\
examples:
  beewire top
  beewire top --once            measure one second, print, and end
  beewire top --once --json | python3 -m json.tool
  beewire top --seconds 60 --interval 5 --json >costs.jsonl"""

COLUMNS = (
    Column("ID", right=True),
    Column("CPU %", right=True),
    Column("EVENTS/S", right=True),
    Column("NS/RUN", right=True),
    Column("TYPE"),
    Column("NAME"),
    Column("HELD BY"),
    Column("AT"),
)
HOME, CLEAR_BELOW = "\x1b[H", "\x1b[J"
CLEAR_LINE = "\x1b[K"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire top`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--interval",
        type=float,
        default=1.0,
        metavar="S",
        help="how often (default: 1)",
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="end after so long (default: never)"
    )
    parser.add_argument(
        "--once", action="store_true", help="print what one interval cost, and end"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one line of JSON an interval"
    )
    parser.add_argument(
        "--all", action="store_true", help="show programs that did not run, too"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print until it is to end.

    Raises:
        UsageError: --interval or --seconds is no time.
        NotPermitted: CAP_SYS_ADMIN is missing.
    """
    for name, value in (("interval", args.interval), ("seconds", args.seconds)):
        if value is not None and not value > 0:
            raise UsageError(f"--{name} takes a time above 0, not {value:g}")
    try:
        measure(args)
    except KeyboardInterrupt:
        print()
    return 0


def measure(args: argparse.Namespace) -> None:
    """Print what each interval cost."""
    end = time.monotonic() + (args.seconds or float("inf"))
    redraws = sys.stdout.isatty() and not (args.once or args.json)
    interval = min(args.interval, args.seconds or args.interval)
    with closing(inspection.watch(interval)) as costs:
        for number, found in enumerate(costs):
            if args.json:
                print(json.dumps({"costs": plain(found)}), flush=True)
            elif redraws:
                redraw(found, first=number == 0, every=args.all)
            else:
                print("\n".join(lines(found, every=args.all, height=0)), flush=True)
            if args.once or time.monotonic() + interval / 2 > end:
                break
    if redraws:
        print()


def redraw(costs: Sequence[Cost], *, first: bool, every: bool) -> None:
    """Draw the list over the one before."""
    height = shutil.get_terminal_size().lines
    shown = lines(costs, every=every, height=height)
    start = HOME + CLEAR_BELOW if first else HOME
    body = f"{CLEAR_LINE}\n".join(shown)
    print(f"{start}{body}{CLEAR_BELOW}", end="", flush=True)


def lines(costs: Sequence[Cost], *, every: bool, height: int) -> list[str]:
    """The list: a line for all together, and one for each program that ran."""
    ran = [cost for cost in costs if cost.runs]
    cpu = sum(cost.cpu_percent for cost in costs)
    events = sum(cost.runs_per_s for cost in costs)
    total = f"{len(ran)} of {len(costs)} programs ran: {cpu:.2f} % of one CPU, "
    rows = [row(cost) for cost in (costs if every else ran)]
    width = terminal_width()
    table = table_lines(COLUMNS, rows, width=width, colour=wants_colour(sys.stdout))
    # The last line is left empty, or the terminal would scroll.
    return [f"{total}{events:,.0f} events/s", *table][: height - 1 if height else None]


def row(cost: Cost) -> Row:
    """One program as a row."""
    program = cost.program
    return Row((
        str(program.id),
        f"{cost.cpu_percent:.2f}",
        f"{cost.runs_per_s:,.0f}",
        f"{cost.ns_per_run:,.0f}" if cost.runs else "-",
        program.kind.lower(),
        program.name or "-",
        holders(program.owners) or "-",
        "; ".join(map(attachment_text, program.attachments)) or "-",
    ))  # fmt: skip
