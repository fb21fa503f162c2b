"""List the links in the kernel: which program runs where, and who keeps it there.

What was attached without a link is told by `beewire ps`.
Needs CAP_SYS_ADMIN. Exits with 0, also where there are no links.
"""

import argparse

from beewire.bpf.author import inspection
from beewire.bpf.author.inspection import Census, LinkState
from beewire.cli.table import Column, Row, holders, print_json, print_table

EPILOG = """\
examples:
  beewire links
  beewire links --json | python3 -m json.tool"""

COLUMNS = (
    Column("ID", right=True),
    Column("TYPE"),
    Column("PROGRAM"),
    Column("HOOK"),
    Column("TARGET"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire links`."""
    parser.epilog = EPILOG
    parser.add_argument("--json", action="store_true", help="print all that is known")


def run(args: argparse.Namespace) -> int:
    """Print the links."""
    census = inspection.census()
    if args.json:
        print_json({"links": census.links})
    elif not census.links:
        print("there are no links")
    else:
        print_table(COLUMNS, [row(each, census) for each in census.links])
    return 0


def row(link: LinkState, census: Census) -> Row:
    """One link as a row."""
    return Row(
        (
            str(link.id),
            link.kind.lower(),
            program_text(link, census),
            link.hook,
            link.target or "-",
        ),
        notes(link),
    )


def program_text(link: LinkState, census: Census) -> str:
    """The program of a link: its id and name."""
    if not link.program_id:
        return "-"
    names = [each.name for each in census.programs if each.id == link.program_id]
    return " ".join([str(link.program_id), *names])


def notes(link: LinkState) -> tuple[tuple[str, str], ...]:
    """Who keeps a link."""
    held = (("held", holders(link.owners)),) if link.owners else ()
    return (*held, *(("pin", path) for path in link.pins))
