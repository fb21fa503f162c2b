"""Show all that is known of one program, map or link in the kernel.

`beewire show 42` is enough where only one of the three has that id; elsewhere say which:
`beewire show program 42`. Needs CAP_SYS_ADMIN. Exits with 2 where there is none.
"""

import argparse
import sys
import time
from collections.abc import Iterable

from beewire.bpf.author import inspection
from beewire.bpf.author.inspection import Census, LinkState, MapState, ProgramState
from beewire.bpf.btf.c import declare
from beewire.bpf.kernel.btf_objects import types_of
from beewire.cli.links import program_text
from beewire.cli.maps import flag_words
from beewire.cli.ps import attachment_text
from beewire.cli.style import Ink, paint, wants_colour
from beewire.cli.table import holders, plain, print_json, size_text
from beewire.errors import UsageError

EPILOG = """\
examples:
  beewire show 42
  beewire show map 42
  beewire show link 7 --json"""

Known = ProgramState | MapState | LinkState
Facts = list[tuple[str, str]]
KINDS = ("program", "map", "link")
_WIDTH = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire show`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "what", nargs="+", metavar="ID", help="an id, or program, map or link and an id"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(args: argparse.Namespace) -> int:
    """Print what is known of it."""
    kind, number = parse(args.what)
    census = inspection.census()
    kind, found = choose(census, kind, number)
    if args.json:
        told = plain(found)
        assert isinstance(told, dict)
        print_json({"object": kind, **told})
        return 0
    colour = wants_colour(sys.stdout)
    print(paint(f"{kind} {number}", Ink.BOLD, colour=colour))
    for word, text in facts(found, census):
        print(f"  {word:<{_WIDTH}} {text}")
    return 0


def parse(words: list[str]) -> tuple[str, int]:
    """A kind, or "", and an id; "map 7", "map:7" and "7" are understood.

    Raises:
        UsageError: it is neither.
    """
    *kinds, number = " ".join(words).replace(":", " ").split() or [""]
    kind = kinds[0] if kinds else ""
    if len(kinds) > 1 or kind not in ("", *KINDS) or not number.isdecimal():
        raise UsageError(
            f"{' '.join(words)!r} is no object: write an id, or one of "
            f"{', '.join(KINDS)} and an id, such as `beewire show map 42`"
        )
    return kind, int(number)


def choose(census: Census, kind: str, number: int) -> tuple[str, Known]:
    """What has this id; of the `kind`, where that is told.

    Raises:
        UsageError: there is none, or there are several.
    """
    places: dict[str, Iterable[Known]] = {
        "program": census.programs,
        "map": census.maps,
        "link": census.links,
    }
    found = [
        (name, each)
        for name, known in places.items()
        for each in known
        if each.id == number and kind in ("", name)
    ]
    if not found:
        what = kind or "program, map or link"
        raise UsageError(
            f"there is no {what} {number}: `beewire ps`, `beewire maps` and "
            "`beewire links` list them"
        )
    if len(found) > 1:
        ways = " or ".join(f"`beewire show {name} {number}`" for name, _ in found)
        raise UsageError(f"several things have the id {number}: {ways}")
    return found[0]


def facts(found: Known, census: Census) -> Facts:
    """What is known of it, a word for each."""
    if isinstance(found, ProgramState):
        told = program_facts(found, census)
    elif isinstance(found, MapState):
        told = map_facts(found, census)
    else:
        told = link_facts(found, census)
    if found.owners:
        told.append(("held by", holders(found.owners)))
    return told + [("pinned", path) for path in found.pins]


def program_facts(program: ProgramState, census: Census) -> Facts:
    """A program: what it is, what it cost, where it runs."""
    loaded = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(program.loaded_at))
    terms = "GPL" if program.gpl else "not GPL"
    runs = (
        f"{program.run_count:,}, {program.ns_per_run:,.0f} ns each"
        if program.run_count
        else "none counted (statistics are off, unless somebody asks)"
    )
    names = {each.id: each.name for each in census.maps}
    maps = ", ".join(f"{n} {names.get(n, '')}".rstrip() for n in program.map_ids)
    return [
        ("type", program.kind.lower()),
        ("name", program.name or "-"),
        ("tag", program.tag),
        ("loaded", f"{loaded} by user {program.uid}, {terms}"),
        (
            "code",
            f"{program.xlated_size} bytes of BPF, {program.jited_size} of machine code",
        ),
        ("verified", f"{program.verified_insns:,} instructions"),
        ("memory", size_text(program.memory)),
        ("runs", runs),
        *(
            [("missed", f"{program.recursion_misses:,}")]
            if program.recursion_misses
            else []
        ),
        *([("maps", maps)] if maps else []),
        *(("at", attachment_text(each)) for each in program.attachments),
    ]


def map_facts(each: MapState, census: Census) -> Facts:
    """A map: what it is, of what types, who uses it."""
    names = {program.id: program.name for program in census.programs}
    users = ", ".join(f"{n} {names.get(n, '')}".rstrip() for n in each.program_ids)
    flags = flag_words(each)
    return [
        ("type", each.kind.lower()),
        ("name", each.name or "-"),
        ("key", sized(each.key_size, each.btf_id, each.key_type_id)),
        ("value", sized(each.value_size, each.btf_id, each.value_type_id)),
        ("entries", f"{each.max_entries:,} at most"),
        ("memory", size_text(each.memory)),
        *([("flags", flags)] if flags else []),
        *([("programs", users)] if users else []),
    ]


def sized(size: int, btf_id: int, type_id: int) -> str:
    """A key or value: "8 bytes, struct endpoint", where its type is known."""
    types = types_of(btf_id) if type_id else None
    node = types.type(type_id) if types else None
    return f"{size} bytes" + (f", {declare(node, '').strip()}" if node else "")


def link_facts(link: LinkState, census: Census) -> Facts:
    """A link: which program it runs, and where."""
    return [
        ("type", link.kind.lower()),
        ("program", program_text(link, census)),
        ("hook", link.hook),
        ("target", link.target or "-"),
        *((word, str(value)) for word, value in link.details.items()),
    ]
