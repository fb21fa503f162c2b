"""What does a mesh cost: Istio's iptables, Beewire's redirection, the short path?

Two pods on this machine, each with an Envoy beside its application; a client in one, a
server in the other. Variants are the ways to connect them, workloads what is asked:
`--help` lists both. All variants of a workload are measured one after the other, in the
next round in the opposite order, and compared within the round: the figures are medians
of ratios to iptables, with their quartiles. CPU is that of client, server and both
sidecars, by their cgroups, a request. With --json, a run that was stopped goes on when
the same command is given again; --html writes a report that needs nothing else.
"""

import argparse
import datetime as dt
import platform
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from _mesh_figures import Samples, figures
from _mesh_page import report
from _mesh_peers import HOW
from _mesh_placement import PLACEMENTS, SPREAD
from _mesh_run import CELL_S, Plan, Run, span
from _mesh_store import Store
from _mesh_table import table
from _mesh_variants import VARIANTS, Asked
from _mesh_versions import versions
from _mesh_view import Beside
from _mesh_workloads import WORKLOADS
from _report import Figure, Json, machine

from beewire.cli.demo import writable
from beewire.errors import BeewireError, UsageError
from beewire.interrupts import Stopped, unwinding
from beewire.mesh.agent.page_lists import kept_short
from beewire.mesh.lab.tools import require_all, require_root

PROGRAMS = ("envoy", "nginx", "wrk", "h2load", "iptables-legacy-restore")
ROUNDS, SECONDS = 8, 2
AS_IS, SHORT = "as-is", "short"


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="beewire bench mesh",
        description=__doc__,
        epilog=_lists(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    chosen = {"metavar": "NAME,...", "type": _names}
    parser.add_argument("--variants", default=tuple(VARIANTS), **chosen)
    parser.add_argument("--workloads", default=tuple(WORKLOADS), **chosen)
    parser.add_argument("--rounds", type=_positive, default=ROUNDS, metavar="N")
    parser.add_argument(
        "--seconds", type=_whole, default=SECONDS, metavar="S", help="of one cell"
    )
    parser.add_argument("--congestion", default="reno", metavar="reno|cubic")
    parser.add_argument(
        "--placement",
        choices=tuple(PLACEMENTS),
        default=SPREAD,
        help="; ".join(f"{name}: {what}" for name, what in PLACEMENTS.items())
        + " (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=_positive,
        default=1,
        metavar="N",
        help="worker threads of each sidecar, 2 in Istio's (default: %(default)s)",
    )
    parser.add_argument(
        "--page-lists",
        choices=(AS_IS, SHORT),
        default=AS_IS,
        help="the machine's lists of free pages, for as long as it takes: as they are, or"
        " as `beewire agent --short-page-lists` keeps them (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep all cells")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report")
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="FILE",
        help="another run's --json, such as one with cubic, to stand in the report, too",
    )
    parser.add_argument("--merbridge", type=Path, metavar="DIR", help=HOW)
    parser.add_argument(
        "--envoy-sockmap",
        default="",
        metavar="FILE",
        help="the program that Envoy's sockmap loads, where it was built with it",
    )
    parser.add_argument(
        "--render", action="store_true", help="measure nothing: only what --json has"
    )
    given = parser.parse_args(argv)
    for kind, known in (("variants", VARIANTS), ("workloads", WORKLOADS)):
        for name in getattr(given, kind):
            if name not in known:
                parser.error(f"there is no {name} among {kind}: {', '.join(known)}")
    return given


def main(argv: Sequence[str]) -> int:
    """Measure, print and write."""
    asked = arguments(argv)
    for path in (asked.json, asked.html):
        writable(path and str(path))
    beside = Beside.read(asked.beside) if asked.beside else None
    if asked.render:
        store = Store.kept(asked.json)
        variants = str(store.settings["variants"]).split(",")
        plan = _plan(asked)._replace(
            variants=_known(asked.variants, variants),
            workloads=_known(asked.workloads, store.workloads()),
            rounds=store.rounds(),
        )
    else:
        today = {"begun": dt.datetime.now(dt.UTC).date().isoformat()}
        machine_ = machine() | versions() | today
        plan, store = _plan(asked), Store(asked.json, machine_, _settings(asked))
        with kept_short() if asked.page_lists == SHORT else nullcontext():
            _measure(plan, store)
    if asked.html:
        page = report(store, plan, _figures(store, plan), beside)
        asked.html.write_text(page, encoding="utf-8")
    print("\n".join(table(_figures(store, plan), plan.variants, plan.workloads)))
    return 0


def _plan(asked: argparse.Namespace) -> Plan:
    return Plan(
        asked.variants,
        asked.workloads,
        asked.rounds,
        asked.seconds,
        Asked(
            congestion=asked.congestion,
            placement=asked.placement,
            workers=asked.workers,
            merbridge=asked.merbridge,
            envoy_sockmap=asked.envoy_sockmap,
        ),
    )


def _settings(asked: argparse.Namespace) -> Json:
    return {
        "variants": ",".join(asked.variants),
        "seconds": asked.seconds,
        "congestion": asked.congestion,
        "placement": asked.placement,
        "workers": asked.workers,
        "page_lists": asked.page_lists,
        "kernel": platform.release(),
    }


def _known(wanted: Sequence[str], there: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in wanted if name in there)


def _measure(plan: Plan, store: Store) -> None:
    def save() -> None:
        store.write(_figures(store, plan))

    require_root()
    require_all(PROGRAMS)
    whole = span(plan.cells() * plan.rounds * (plan.seconds + CELL_S))
    rounds = f"{plan.rounds} round" + ("s" if plan.rounds > 1 else "")
    _tell(f"{plan.cells()} cells a round, {rounds}: about {whole}")
    Run(plan, store, save, _tell).measure()
    save()


def _figures(store: Store, plan: Plan) -> dict[str, Figure]:
    samples = Samples(store.cells, store.missing)
    return figures(samples, plan.variants, plan.workloads)


def _tell(text: str) -> None:
    print(f"mesh: {text}", file=sys.stderr, flush=True)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _whole(text: str) -> int:
    # wrk measures for whole seconds.
    try:
        seconds = float(text)
        if seconds > 0:
            return max(1, round(seconds))
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")


def _lists() -> str:
    wide = max(map(len, (*VARIANTS, *WORKLOADS))) + 2
    lines = [
        "variants:",
        *(f"  {each.name:<{wide}}{each.what}" for each in VARIANTS.values()),
    ]
    lines += ["", "workloads:"]
    lines += [f"  {each.name:<{wide}}{each.what}" for each in WORKLOADS.values()]
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        with unwinding():
            sys.exit(main(sys.argv[1:]))
    except Stopped as stopped:
        print("mesh: stopped; the same command goes on with --json", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except BeewireError as error:
        print(f"mesh: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
