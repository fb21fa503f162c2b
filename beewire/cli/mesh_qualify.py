"""Qualify this kernel: is the short path safe here, and for whose sockets?

Two pods are made for it: network namespaces and cgroups of their own, real programs, real
connections between applications and sidecars, and past them. Every hazard that sockmaps
are known for is met there, in a process of its own and for a limited time. A
hazard of class A loses, misorders or misdelivers bytes, takes memory without bound, or
hangs: where one fails, no socket that can meet it takes the short path. One of class B
changes what a call tells, and is listed. No verdict counts unless the programs' own
counters prove that its bytes took the way that is judged.

The verdicts are kept for this boot, this kernel and these programs; the agent switches on
only what they allow. Nothing but the two pods is touched.
"""

import argparse
import os
import sys
import textwrap
from typing import TYPE_CHECKING

from beewire.cli.mesh_common import add_usual, counted
from beewire.cli.parser import tell
from beewire.cli.style import Ink, paint, wants_colour
from beewire.cli.table import print_json, size_text, terminal_width
from beewire.errors import UsageError

if TYPE_CHECKING:
    from beewire.mesh.qualify import Hazard, Qualification, Verdict

EPILOG = """\
examples:
  sudo beewire mesh qualify
  sudo beewire mesh qualify --json > verdicts.json
  sudo beewire mesh qualify --hazard order --hazard bodies
  beewire mesh qualify --list             what is met, without meeting it
  sudo beewire mesh qualify --kept        what is known of this kernel already

Exit codes: 0 every tier is allowed, 1 a tier is not, or the battery could not run, 2 the
command line is wrong."""

_WIDTHS = (15, 2, 11, 5)
_MOST = 100  # columns of a sentence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh qualify`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--hazard",
        action="append",
        default=[],
        metavar="NAME",
        help="meet this one only; may be repeated. Nothing is kept then",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--kept", action="store_true", help="show what was found before, meet nothing"
    )
    what.add_argument(
        "--list", action="store_true", help="list the hazards, meet nothing"
    )
    add_usual(parser)


def run(args: argparse.Namespace) -> int:
    """Meet the hazards, keep the verdicts, and say which tiers they allow."""
    hazards = _chosen(args.hazard)
    if args.list:
        _list(args, hazards)
        return 0
    if args.kept:
        return _show_kept(args)
    from beewire.mesh.qualify import qualify  # noqa: PLC0415 - it needs all of the mesh

    said = 0

    def say(verdict: "Verdict") -> None:
        nonlocal said
        if not args.json:  # each as it is found: the whole takes a while
            if not said:
                print(_heading())
            said += 1
            print("\n".join(_verdict_lines(verdict)), flush=True)
        tell(args, _detail(verdict))

    found = qualify(hazards, say)
    if found.lacking and not args.json:
        _print_verdicts(found)
    if not args.hazard:
        _keep(args, found)
    return _end(args, found, whole=not args.hazard)


def _detail(verdict: "Verdict") -> str:
    short, tcp = size_text(verdict.short_bytes), size_text(verdict.tcp_bytes)
    told = f"{verdict.hazard} ({verdict.role}): {short} by the short path, {tcp} by TCP"
    return "\n".join(
        [
            f"{told}, {verdict.seconds:.2f} s",
            *([verdict.trace] if verdict.trace else []),
        ]
    ).rstrip()


def _chosen(names: list[str]) -> "tuple[Hazard, ...]":
    from beewire.mesh.qualify import HAZARDS  # noqa: PLC0415 - as above

    known = {hazard.name: hazard for hazard in HAZARDS}
    for name in names:
        if name not in known:
            raise UsageError(
                f"--hazard {name}: there is no such hazard; --list has them all"
            )
    return tuple(known[name] for name in dict.fromkeys(names)) or HAZARDS


def _list(args: argparse.Namespace, hazards: "tuple[Hazard, ...]") -> None:
    if args.json:
        print_json(
            [
                {
                    "hazard": hazard.name,
                    "hazard_class": hazard.hazard_class,
                    "what": hazard.what,
                    "way": hazard.way,
                    "sockets": [role.value for role in hazard.legs],
                    "parts": hazard.limits.large > 0,
                    "unmet": {role.value: why for role, why in hazard.unmet.items()},
                }
                for hazard in hazards
            ]
        )
        return
    width = max(len(hazard.name) for hazard in hazards)
    for hazard in hazards:
        print(f"{hazard.name:<{width}}  {hazard.hazard_class}  {hazard.what}")


def _show_kept(args: argparse.Namespace) -> int:
    from beewire.mesh.agent.directories import node_of  # noqa: PLC0415 - as above
    from beewire.mesh.qualify import Tier, read  # noqa: PLC0415 - as above

    standing = read(node_of(os.environ).run)
    if standing.found is None:
        if args.json:
            print_json({"reason": standing.reason})
        else:
            print(standing.why_not(Tier.SIDECARS))
        return 1
    if not args.json:
        _print_verdicts(standing.found)
    return _end(args, standing.found, whole=True)


def _print_verdicts(found: "Qualification") -> None:
    print(_heading())
    for verdict in found.verdicts:
        print("\n".join(_verdict_lines(verdict, lacking=bool(found.lacking))))


def _keep(args: argparse.Namespace, found: "Qualification") -> None:
    from beewire.mesh.agent.directories import node_of, private_directory  # noqa: PLC0415 - as above
    from beewire.mesh.qualify import write  # noqa: PLC0415 - as above

    directory = node_of(os.environ).run
    private_directory(directory)
    write(directory, found)
    tell(args, f"the verdicts are kept below {directory}")


def _end(args: argparse.Namespace, found: "Qualification", *, whole: bool) -> int:
    if args.json:
        print_json(found.to_json())
    else:
        print("\n".join(["", *(_tier_lines(found) if whole else []), _summary(found)]))
    binding = any(verdict.binds for verdict in found.verdicts)
    return 1 if found.lacking or binding else 0


def _heading() -> str:
    cells = ("HAZARD", "", "SOCKET", "", "WHAT WAS SEEN")
    return paint(_row(cells), Ink.BOLD, colour=wants_colour(sys.stdout))


def _row(cells: tuple[str, ...]) -> str:
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=False)]
    return "  ".join([*padded, cells[-1]]).rstrip()


def _verdict_lines(verdict: "Verdict", *, lacking: bool = False) -> list[str]:
    colour = wants_colour(sys.stdout)
    # What is null everywhere is said once, at the end.
    says = "" if lacking else verdict.says
    if verdict.outcome == "fail" and verdict.unmet:
        says += f" (keeps nobody off: {verdict.unmet})"
    indent = sum(_WIDTHS) + 2 * len(_WIDTHS)
    width = terminal_width()
    lines = [says]
    if says and width > 80:
        lines = textwrap.wrap(says, min(_MOST, width - indent))
    cells = (verdict.hazard, verdict.hazard_class, verdict.role, verdict.outcome)
    row = _row((*cells, lines[0]))
    at = sum(_WIDTHS[:3]) + 2 * 3
    outcome = paint(verdict.outcome, _ink(verdict), colour=colour)
    first = row[:at] + outcome + row[at + len(verdict.outcome) :]
    return [first, *(" " * indent + line for line in lines[1:])]


def _ink(verdict: "Verdict") -> Ink:
    if verdict.outcome == "pass":
        return Ink.GOOD
    if verdict.outcome == "null":
        return Ink.DIM
    return Ink.BAD if verdict.binds else Ink.DOUBT


def _tier_lines(found: "Qualification") -> list[str]:
    from beewire.mesh.qualify import Tier  # noqa: PLC0415 - as above

    colour = wants_colour(sys.stdout)
    lines = [paint("TIER       ALLOWED", Ink.BOLD, colour=colour)]
    for tier in Tier:
        why_not = found.why_not(tier)
        said = "no" if why_not else "yes"
        word = paint(said, Ink.BAD if why_not else Ink.GOOD, colour=colour)
        why = "" if found.lacking else why_not
        lines.append(f"{tier.value:<9}  {word}{' ' * 9}{why}".rstrip())
    return [*lines, ""]


def _summary(found: "Qualification") -> str:
    outcomes = [verdict.outcome.value for verdict in found.verdicts]
    told = ", ".join(
        f"{outcomes.count(word)} {word}" for word in ("pass", "fail", "null")
    )
    listed = sum(v.outcome == "fail" and not v.binds for v in found.verdicts)
    if found.lacking:
        return f"Linux {found.fingerprint.release}: {found.lacking}"
    are = "is" if listed == 1 else "are"
    return (
        f"Linux {found.fingerprint.release}: {counted(len(outcomes), 'verdict')} in"
        f" {found.seconds:.0f} s: {told}"
        + (f"; {listed} of the failures {are} listed only" if listed else "")
    )
