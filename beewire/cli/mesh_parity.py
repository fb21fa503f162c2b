"""Prove that Beewire decides as Istio's rules do.

Connections are decided three ways: by the rules that Istio would write, interpreted; by
Beewire's decision as a Python function; and by the programs of the data path, run by the
kernel. Istio's golden files are compared in every cell that their rules can tell apart,
what remains of the cases are configurations and connections at random. Prints what each
rule of the golden files has decided, every difference with the rule on each side, and the
differences that are meant, by name. Nothing is attached: it may run beside anything.

With --real, connections and datagrams are really sent, by real users, groups and cgroups,
in two pods of a lab that is made for it: where iptables-legacy takes them under Istio's
rules, and where the enrolled data path does, is compared with what was decided.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from beewire.cli.parser import add_verbose, tell
from beewire.cli.style import Ink, paint, wants_colour
from beewire.cli.table import Column, Row, print_json, print_table
from beewire.errors import KernelError, UsageError
from beewire.mesh.parity.campaign import (
    EXHAUSTIVE,
    EXHAUSTIVE_ALL,
    Campaign,
    Found,
    Report,
    RuleCount,
)
from beewire.mesh.parity.deltas import Delta
from beewire.mesh.parity.judge import iptables, nft
from beewire.mesh.parity.kernel import Kernel
from beewire.mesh.parity.telling import told_config, told_connection

if TYPE_CHECKING:
    from beewire.mesh.proving import RealReport

EPILOG = """\
examples:
  beewire mesh parity --cases 1000000
  beewire mesh parity --cases 1000000 --seed 7 --json
  beewire mesh parity --cases 100000 --rules nft
  beewire mesh parity --cases 20000 --without-kernel
  sudo beewire mesh parity --real 20000

The last line says what came of it: N compared, D documented, U unexplained.
Exit codes: 0 nothing is unexplained, 1 something is, 2 the command line is wrong."""

CASES = 200_000
_TOLD = 10  # lines of -v


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh parity`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--cases",
        type=int,
        default=CASES,
        metavar="N",
        help=f"how many connections are compared ({CASES}); from {EXHAUSTIVE} on every"
        f" cell of 18 of Istio's golden files, from {EXHAUSTIVE_ALL} on of all 27",
    )
    parser.add_argument(
        "--real",
        type=int,
        default=0,
        metavar="N",
        help="instead make N real connections in each of two pods: one has iptables"
        " rules, one is enrolled (root)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="S",
        help="the same seed compares the same connections (1)",
    )
    parser.add_argument(
        "--rules",
        choices=("iptables", "nft"),
        default="iptables",
        help="which of Istio's notations is interpreted (iptables)",
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
    if args.cases < 1 or args.real < 0:
        raise UsageError("--cases and --real: there is nothing to compare")
    if args.real:
        return _run_real(args)
    if args.without_kernel:
        report = _campaign(args, None)
    else:
        with _kernel() as kernel:
            report = _campaign(args, kernel)
    if args.json:
        print_json(_as_json(report, args.seed))
    else:
        _print(report)
    return 1 if report.unexplained else 0


def _kernel() -> Kernel:
    try:
        return Kernel()
    except KernelError as error:
        error.add_note("--without-kernel compares rules and function alone")
        raise


def _run_real(args: argparse.Namespace) -> int:
    # Only here: it needs what only the lab needs.
    from beewire.mesh.proving import Real  # noqa: PLC0415

    with Real(args.real, args.seed) as real:
        report = real.run(_progress(args))
    if args.json:
        print_json(_real_as_json(report, args.seed))
        return 1 if report.unexplained else 0
    _print_counts("ARRIVED AT", report.arrived)
    _print_counts(
        "RULE IN THE ENROLLED POD", {r.name: n for r, n in report.rules.items()}
    )
    for each in report.differences:
        print(f"different: {told_connection(each.connection)}")
        print(f"  attempt   {each.attempt}")
        print(f"  decided   {each.decided}\n  {each.by:<9} {each.arrived}")
        print(f"  config    {told_config(each.config)}\n")
    _print_deltas(report.documented)
    for miscount in report.miscounts:
        print(
            f"different: {miscount.rule.name} was counted {miscount.counted} times in the"
            f" enrolled pod, and not {miscount.decided}\n"
            f"  config    {told_config(miscount.config)}\n"
        )
    made = ", ".join(f"{n} under {by}" for by, n in report.compared.items())
    print(f"{report.configurations} configurations: {made}")
    documented = sum(report.documented.values())
    _summarize(sum(report.compared.values()), documented, report.unexplained)
    return 1 if report.unexplained else 0


def _print_counts(title: str, counts: Mapping[str, int]) -> None:
    rows = [Row((name, f"{n}")) for name, n in sorted(counts.items()) if n]
    print_table((Column(title), Column("CONNECTIONS", right=True)), rows)
    print()


def _campaign(args: argparse.Namespace, kernel: Kernel | None) -> Report:
    notation = {"iptables": iptables, "nft": nft}[args.rules]
    return Campaign(args.cases, args.seed, kernel, notation).run(_progress(args))


def _progress(args: argparse.Namespace) -> Callable[[int], None]:
    told = 0
    step = max(1, (args.real or args.cases) // _TOLD)

    def progress(compared: int) -> None:
        nonlocal told
        if compared >= told + step:
            told = compared
            tell(args, f"{compared} connections compared")

    return progress


def _print(report: Report) -> None:
    if report.rules:
        _print_rules(report)
    for found in report.differences:
        print(_difference(found))
    if report.unexplained > len(report.differences):
        print(f"... and {report.unexplained - len(report.differences)} more\n")
    _print_deltas(report.documented)
    ways = (
        "rules, function and programs" if report.by_programs else "rules and function"
    )
    print(f"{report.configurations} configurations, by {ways}")
    documented = sum(report.documented.values())
    _summarize(report.compared, documented, report.unexplained)


def _print_deltas(documented: Mapping[Delta, int]) -> None:
    colour = wants_colour(sys.stdout)
    for delta, count in sorted(documented.items()):
        print(f"{paint(delta.name, Ink.BOLD, colour=colour)}: {count}")
        print(f"  {delta.text}")


def _summarize(compared: int, documented: int, unexplained: int) -> None:
    summary = f"{compared} compared, {documented} documented, {unexplained} unexplained"
    ink = Ink.BAD if unexplained else Ink.GOOD
    print(paint(summary, ink, colour=wants_colour(sys.stdout)))


def _print_rules(report: Report) -> None:
    columns = (
        Column("GOLDEN FILE"),
        Column("NO", right=True),
        Column("IP"),
        Column("TABLE"),
        Column("DECIDED", right=True),
        Column("RULE"),
    )
    rows = [
        Row(
            (
                rule.golden,
                str(rule.number),
                str(rule.family),
                rule.table,
                f"{rule.packets}" if rule.reachable else "-",
                rule.text + ("" if rule.reachable else f"  # {_unreachable(rule)}"),
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
        f" more; the other {never} are unreachable, and each says by which rules of its"
        " file, as every cell of packets shows\n"
    )


def _unreachable(rule: RuleCount) -> str:
    return f"unreachable: {rule.proof or 'not proven'}"


def _difference(found: Found) -> str:
    each = found.difference
    sides = {
        "rules": each.rules,
        "function": each.function,
        "programs": each.programs or "not asked",
        "config": told_config(found.config),
    }
    lines = [f"  {name:<9} {said}" for name, said in sides.items()]
    return "\n".join([f"different: {told_connection(each.connection)}", *lines, ""])


def _as_json(report: Report, seed: int) -> dict[str, object]:
    return {
        "compared": report.compared,
        "documented": {delta.name: n for delta, n in report.documented.items()},
        "unexplained": report.unexplained,
        "seed": seed,
        "configurations": report.configurations,
        "by_programs": report.by_programs,
        "rules": [rule._asdict() for rule in report.rules],
        "differences": [
            {
                "connection": told_connection(found.difference.connection),
                "rules": found.difference.rules,
                "function": found.difference.function,
                "programs": found.difference.programs or None,
                "config": told_config(found.config),
            }
            for found in report.differences
        ],
    }


def _real_as_json(report: "RealReport", seed: int) -> dict[str, object]:
    return {
        "compared": sum(report.compared.values()),
        "compared_by": report.compared,
        "documented": {delta.name: n for delta, n in report.documented.items()},
        "unexplained": report.unexplained,
        "seed": seed,
        "configurations": report.configurations,
        "arrived": dict(sorted(report.arrived.items())),
        "rules": {rule.name: count for rule, count in report.rules.items() if count},
        "miscounts": [
            {
                "rule": each.rule.name,
                "decided": each.decided,
                "counted": each.counted,
                "config": told_config(each.config),
            }
            for each in report.miscounts
        ],
        "differences": [
            {
                "connection": told_connection(each.connection),
                "attempt": each.attempt,
                "decided": each.decided,
                "by": each.by,
                "arrived": each.arrived,
                "config": told_config(each.config),
            }
            for each in report.differences
        ],
    }
