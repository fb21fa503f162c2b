"""List the programs in the kernel, whoever loaded them, and where they run.

Each program is told with the processes that hold it, the names it is pinned under, and
every place where it runs: links, and what was attached in the older way. Runs and time are
counted only while statistics are on: --seconds switches them on, for so long.
Needs CAP_SYS_ADMIN. Exits with 0, also where there are no programs.
"""

import argparse
import time

from beewire.bpf.author import inspection
from beewire.bpf.author.inspection import Attachment, ProgramState
from beewire.cli.table import (
    Column,
    Row,
    count_text,
    holders,
    print_json,
    print_table,
    size_text,
)
from beewire.errors import UsageError

EPILOG = """\
examples:
  beewire ps
  beewire ps --seconds 1        count runs for a second first
  beewire ps --json | python3 -m json.tool"""

MOST_IDS = 4
COLUMNS = (
    Column("ID", right=True),
    Column("TYPE"),
    Column("NAME"),
    Column("RUNS", right=True),
    Column("NS/RUN", right=True),
    Column("MEMORY", right=True),
    Column("MAPS"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire ps`."""
    parser.epilog = EPILOG
    parser.add_argument("--json", action="store_true", help="print all that is known")
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="count runs for so long before they are told",
    )


def run(args: argparse.Namespace) -> int:
    """Print the programs."""
    found = programs(args.seconds)
    if args.json:
        print_json({"statistics": inspection.always_on(), "programs": found})
    elif not found:
        print("no programs are loaded")
    else:
        print_table(COLUMNS, [row(program) for program in found])
    return 0


def programs(seconds: float | None) -> tuple[ProgramState, ...]:
    """All programs, after their runs were counted for `seconds`.

    Raises:
        UsageError: that is no time.
        NotPermitted: CAP_SYS_ADMIN is missing.
    """
    if seconds is None:
        return inspection.programs()
    if not seconds > 0:
        raise UsageError(f"--seconds takes a time above 0, not {seconds:g}")
    with inspection.statistics():
        time.sleep(seconds)
        return inspection.programs()


def row(program: ProgramState) -> Row:
    """One program as a row."""
    return Row(
        (
            str(program.id),
            program.kind.lower(),
            program.name or "-",
            count_text(program.run_count),
            f"{program.ns_per_run:,.0f}" if program.run_count else "-",
            size_text(program.memory),
            ids_text(program.map_ids),
        ),
        notes(program),
    )


def ids_text(numbers: tuple[int, ...]) -> str:
    """Ids in a cell: the first few of them, and how many more."""
    more = len(numbers) - MOST_IDS
    shown = ",".join(map(str, numbers[:MOST_IDS])) or "-"
    return f"{shown} and {more} more" if more > 0 else shown


def notes(program: ProgramState) -> tuple[tuple[str, str], ...]:
    """Where a program runs, and who keeps it."""
    found = [("at", attachment_text(each)) for each in program.attachments]
    if program.owners:
        found.append(("held", holders(program.owners)))
    return (*found, *(("pin", path) for path in program.pins))


def attachment_text(attachment: Attachment) -> str:
    """One place: "cgroup_inet4_connect /sys/fs/cgroup/pod (link 5)"."""
    link = f"(link {attachment.link_id})" if attachment.link_id else "(no link)"
    return " ".join(filter(None, (attachment.kind, attachment.target, link)))
