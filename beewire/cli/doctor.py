"""Say what this machine can and cannot do for Beewire, why, and what to change.

Looks and probes; changes nothing. Exits with 0 if `beewire demo` can run here, else 1.
With --calls it tells what programs of one type may call here, and exits with 0.
"""

import argparse
import json
import platform
import shutil
import sys
import textwrap

import beewire
from beewire.bpf.kernel import features
from beewire.cli.checks import Finding, State, checks
from beewire.cli.probes import everything, probe_findings, program_kind
from beewire.cli.style import Ink, paint, wants_colour

EPILOG = """\
examples:
  beewire doctor
  beewire doctor --json | python3 -m json.tool
  beewire doctor --calls xdp              which helpers and kernel functions?"""

INKS = {
    State.GOOD: Ink.GOOD,
    State.LIMITED: Ink.DOUBT,
    State.BAD: Ink.BAD,
    State.UNKNOWN: Ink.DOUBT,
}
GROUPS = (
    "machine",
    "permission",
    "kernel",
    "btf",
    "mount",
    "program type",
    "attach type",
    "map type",
    "map flag",
    "kfunc",
    "lab",
)
MARGIN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire doctor`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--json", action="store_true", help="print every finding and feature as JSON"
    )
    parser.add_argument(
        "--calls",
        metavar="TYPE",
        help="print what programs of this type may call: xdp, tracing, sched_cls, ...",
    )


def run(args: argparse.Namespace) -> int:
    """Print the findings; 0 if the demo can run here, 1 otherwise."""
    if args.calls:
        print("\n".join(calls_text(args.calls)))
        return 0
    findings = sorted([check() for check in checks()] + probe_findings(), key=by_group)
    if args.json:
        print(json.dumps(as_json(findings) | everything(), indent=1))
    else:
        colour = wants_colour(sys.stdout)
        print("\n".join(as_text(findings, colour=colour)))
    return 1 if obstacles(findings) else 0


def calls_text(word: str) -> list[str]:
    """The helpers and kernel functions of one type of program, in columns' stead."""
    kind = program_kind(word)
    if not (found := features.program_type(kind)):
        return [f"{kind.name}: {found.answer.value}, {found.reason}"]
    lines = []
    for title, names in (
        ("helpers", features.helpers(kind)),
        ("kernel functions", features.kfuncs(kind)),
    ):
        lines += [f"{len(names)} {title} that {kind.name} programs may call"]
        lines += wrapped(", ".join(names)) if names else []
    features.save()
    return lines


def by_group(finding: Finding) -> int:
    """Where a finding's group stands; findings keep their order in it."""
    return GROUPS.index(finding.group)


def obstacles(findings: list[Finding]) -> list[Finding]:
    """What keeps the demo from running."""
    return [found for found in findings if found.demo and found.state is State.BAD]


def as_json(findings: list[Finding]) -> dict[str, object]:
    """The findings for programs to read."""
    return {
        "beewire": beewire.__version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "demo": {
            "can_run": not obstacles(findings),
            "obstacles": [found.name for found in obstacles(findings)],
        },
        "findings": [
            {
                "group": found.group,
                "name": found.name,
                "state": found.state.value,
                "detail": found.detail,
                "fix": found.fix,
                "needed_for_demo": found.demo,
            }
            for found in findings
        ],
    }


def as_text(findings: list[Finding], *, colour: bool) -> list[str]:
    """The findings for people: what is there briefly, what is missing in full."""
    lines = []
    for group in GROUPS:
        if not any(found.group == group for found in findings):
            continue
        lines += [paint(group, Ink.BOLD, colour=colour)]
        lines += group_text([f for f in findings if f.group == group], colour=colour)
    in_the_way = obstacles(findings)
    names = ", ".join(found.name for found in in_the_way)
    verdict = (
        f"The demo cannot run here: {names}." if names else "The demo can run here."
    )
    ink = Ink.BAD if in_the_way else Ink.GOOD
    return [*lines, "", paint(verdict, ink, colour=colour)]


def group_text(findings: list[Finding], *, colour: bool) -> list[str]:
    """The lines of one group. Findings of which the same is to be said share them."""
    alike: dict[tuple[State, str, str], list[str]] = {}
    for found in sorted(findings, key=lambda found: bool(found.detail)):
        alike.setdefault((found.state, found.detail, found.fix), []).append(found.name)
    lines = []
    for (state, detail, fix), names in alike.items():
        mark = paint(f"  {state:<{MARGIN - 2}}", INKS[state], colour=colour)
        told = ", ".join(names) + (f": {detail}" if detail else "")
        # A line of its own may be as long as it is: paths in it are to be copied.
        first, *more = wrapped(told) if len(names) > 1 else [told]
        lines += [mark + first.lstrip(), *more]
        if fix:
            lines.append(" " * MARGIN + paint(fix, Ink.DIM, colour=colour))
    return lines


def wrapped(text: str) -> list[str]:
    """`text` in lines of the terminal's width, at most 100 columns, behind the margin."""
    indent = " " * MARGIN
    return textwrap.wrap(
        text,
        max(min(shutil.get_terminal_size().columns, 100), 2 * MARGIN),
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
