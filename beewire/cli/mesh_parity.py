"""Prove that Beewire decides as Istio's rules do.

Connections are decided three ways: by the rules that Istio would write, interpreted; by
Beewire's decision as a Python function; and by the programs of the data path, run by the
kernel. Istio's golden files are compared in every cell that their rules can tell apart,
what remains of the cases are configurations and connections at random. Prints what each
rule of the golden files has decided, every difference with the rule on each side, and the
differences that are meant, by name.

Nothing is attached: it may run beside anything.
"""

import argparse
import sys
from dataclasses import fields

from beewire.cli.parser import add_verbose, tell
from beewire.cli.style import Ink, paint, wants_colour
from beewire.cli.table import Column, Row, print_json, print_table
from beewire.errors import UsageError
from beewire.mesh.config import PodConfig
from beewire.mesh.parity.campaign import EXHAUSTIVE, Campaign, Found, Report
from beewire.mesh.parity.kernel import Kernel

EPILOG = """\
examples:
  beewire mesh parity --cases 1000000
  beewire mesh parity --cases 1000000 --seed 7 --json
  beewire mesh parity --cases 20000 --without-kernel

The last line says what came of it: N compared, D documented, U unexplained.
Exit codes: 0 nothing is unexplained, 1 something is, 2 the command line is wrong."""

CASES = 200_000
_TOLD = 100_000  # cases between two lines of -v


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh parity`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--cases",
        type=int,
        default=CASES,
        metavar="N",
        help=f"how many connections are compared ({CASES}); from {EXHAUSTIVE} on every"
        " cell of Istio's golden files",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="S",
        help="the same seed compares the same connections (1)",
    )
    parser.add_argument(
        "--without-kernel",
        action="store_true",
        help="leave the programs out: needs no privilege",
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    add_verbose(parser)


def run(args: argparse.Namespace) -> int:
    """Compare, and print what came of it."""
    if args.cases < 1:
        raise UsageError(f"--cases {args.cases}: there is nothing to compare")
    if args.without_kernel:
        report = _campaign(args, None)
    else:
        with Kernel() as kernel:
            report = _campaign(args, kernel)
    if args.json:
        print_json(_as_json(report, args.seed))
    else:
        _print(report)
    return 1 if report.unexplained else 0


def _campaign(args: argparse.Namespace, kernel: Kernel | None) -> Report:
    told = 0

    def progress(compared: int) -> None:
        nonlocal told
        if compared >= told + _TOLD:
            told = compared
            tell(args, f"{compared} connections compared")

    return Campaign(args.cases, args.seed, kernel).run(progress)


def _print(report: Report) -> None:
    colour = wants_colour(sys.stdout)
    if report.rules:
        _print_rules(report)
    for found in report.differences:
        print(_difference(found))
    if report.unexplained > len(report.differences):
        print(f"... and {report.unexplained - len(report.differences)} more\n")
    for delta, count in sorted(report.documented.items()):
        print(f"{paint(delta.name, Ink.BOLD, colour=colour)}: {count}")
        print(f"  {delta.text}")
    ways = (
        "rules, function and programs" if report.by_programs else "rules and function"
    )
    print(f"{report.configurations} configurations, by {ways}")
    documented = sum(report.documented.values())
    summary = (
        f"{report.compared} compared, {documented} documented,"
        f" {report.unexplained} unexplained"
    )
    ink = Ink.BAD if report.unexplained else Ink.GOOD
    print(paint(summary, ink, colour=colour))


def _print_rules(report: Report) -> None:
    columns = (
        Column("GOLDEN FILE"),
        Column("IP"),
        Column("TABLE"),
        Column("DECIDED", right=True),
        Column("RULE"),
    )
    rows = [
        Row(
            (
                rule.golden,
                str(rule.family),
                rule.table,
                f"{rule.packets}" if rule.reachable else "never",
                rule.text,
            )
        )
        for rule in report.rules
    ]
    print_table(columns, rows)
    never = sum(not rule.reachable for rule in report.rules)
    fewest = min((rule.packets for rule in report.rules if rule.reachable), default=0)
    print(
        f"\n{len(report.rules)} rules of {len({rule.golden for rule in report.rules})}"
        f" golden files: {len(report.rules) - never} decided {fewest} connections or"
        f" more; no packet at all meets the other {never} (never), as every cell shows:"
        " rules before them have taken it, or nothing leads to their chain\n"
    )


def _difference(found: Found) -> str:
    each = found.difference
    sides = {
        "rules": each.rules,
        "function": each.function,
        "programs": each.programs or "not asked",
        "config": _settings(found.config),
    }
    lines = [f"  {name:<9} {said}" for name, said in sides.items()]
    return "\n".join([f"different: {each.connection}", *lines, ""])


def _settings(config: PodConfig) -> str:
    # What it has that is not the default.
    usual = PodConfig()
    said = {
        each.name: getattr(config, each.name)
        for each in fields(config)
        if getattr(config, each.name) != getattr(usual, each.name)
    }
    return (
        f"PodConfig({', '.join(f'{name}={value!r}' for name, value in said.items())})"
    )


def _as_json(report: Report, seed: int) -> dict[str, object]:
    return {
        "compared": report.compared,
        "documented": {delta.name: n for delta, n in report.documented.items()},
        "unexplained": report.unexplained,
        "seed": seed,
        "configurations": report.configurations,
        "by_programs": report.by_programs,
        "rules": report.rules,
        "differences": [
            {
                "connection": str(found.difference.connection),
                "rules": found.difference.rules,
                "function": found.difference.function,
                "programs": found.difference.programs or None,
                "config": _settings(found.config),
            }
            for found in report.differences
        ],
    }
