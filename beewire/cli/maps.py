"""List the maps in the kernel, whoever created them.

Each map is told with the programs that use it, the processes that hold it, and the names
it is pinned under. Sizes of keys and values are in bytes.
Needs CAP_SYS_ADMIN. Exits with 0, also where there are no maps.
"""

import argparse

from beewire.bpf.author import inspection
from beewire.bpf.author.inspection import MapState
from beewire.bpf.kernel.features import MapFlag
from beewire.cli.ps import ids_text
from beewire.cli.table import Column, Row, holders, print_json, print_table, size_text

EPILOG = """\
examples:
  beewire maps
  beewire maps --json | python3 -m json.tool"""

COLUMNS = (
    Column("ID", right=True),
    Column("TYPE"),
    Column("NAME"),
    Column("KEY", right=True),
    Column("VALUE", right=True),
    Column("ENTRIES", right=True),
    Column("MEMORY", right=True),
    Column("PROGRAMS"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire maps`."""
    parser.epilog = EPILOG
    parser.add_argument("--json", action="store_true", help="print all that is known")


def run(args: argparse.Namespace) -> int:
    """Print the maps."""
    found = inspection.maps()
    if args.json:
        print_json({"maps": found})
    elif not found:
        print("there are no maps")
    else:
        print_table(COLUMNS, [row(each) for each in found])
    return 0


def row(each: MapState) -> Row:
    """One map as a row."""
    return Row(
        (
            str(each.id),
            each.kind.lower(),
            each.name or "-",
            str(each.key_size),
            str(each.value_size),
            f"{each.max_entries:,}",
            size_text(each.memory),
            ids_text(each.program_ids),
        ),
        notes(each),
    )


def notes(each: MapState) -> tuple[tuple[str, str], ...]:
    """How a map was created, and who keeps it."""
    found = []
    if words := flag_words(each):
        found.append(("flags", words))
    if each.owners:
        found.append(("held", holders(each.owners)))
    return (*found, *(("pin", path) for path in each.pins))


def flag_words(each: MapState) -> str:
    """The flags of a map by name, and whether it is frozen."""
    names = [flag.name.lower() for flag in MapFlag if each.flags & flag]
    rest = each.flags & ~sum(MapFlag)
    return ", ".join(
        [
            *names,
            *([f"{rest:#x}"] if rest else []),
            *(["frozen"] if each.frozen else []),
        ]
    )
