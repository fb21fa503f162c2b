"""The report of a run: one HTML page that needs nothing else."""

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import median
from typing import NamedTuple

from _mesh_cells import PROCESSES
from _mesh_figures import ABSOLUTE, COMPARED, FLOORS, REDIRECT, TIERS, Floor, Samples
from _mesh_plots import (
    Bar,
    Curve,
    Row,
    Scale,
    cpu_bars,
    latency_curves,
    ratios,
    three,
)
from _mesh_run import Plan
from _mesh_store import Store
from _mesh_table import why_not
from _mesh_variants import BASE, VARIANTS
from _mesh_workloads import WORKLOADS, Kind
from _report import Figure

from beewire.errors import UsageError
from beewire.mesh.lab.load import PERCENTS

Figures = Mapping[str, Figure]
STYLE = Path(__file__).with_name("_mesh.css")
# Far from the rest: drawn as an arrow where they would squeeze it.
FAR = ("none", "shortcut", "splice")

QUESTIONS = {
    "requests": ("Requests a second", "more is better"),
    "cpu_per_request": (
        "CPU time a request",
        "client, sidecars, server; less is better",
    ),
    "p50": ("Median latency", "less is better"),
    "p99": ("99th percentile of latency", "less is better"),
}


class Beside(NamedTuple):
    """Another run, whose figures stand beside the page's own: its file's content."""

    settings: Mapping[str, object]
    rounds: int
    figures: Mapping[str, Mapping[str, object]]

    @classmethod
    def read(cls, path: Path) -> "Beside":
        """What `--json` wrote.

        Raises:
            UsageError: It is no file of this benchmark.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(found["settings"], found["rounds"], found["figures"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is no file of this benchmark") from error

    def value(self, name: str) -> float | None:
        """A figure's median."""
        value = self.figures.get(name, {}).get("value")
        return value if isinstance(value, int | float) else None


class Page:
    """What the page's sections share."""

    def __init__(
        self, store: Store, plan: Plan, figures: Figures, beside: Beside | None = None
    ) -> None:
        self.beside = beside
        self.store = store
        self.plan = plan
        self.figures = figures
        self.samples = Samples(store.cells, store.missing)
        absent = {each.variant for each in store.missing if not each.workload}
        self.variants = [name for name in plan.variants if name not in absent]
        self.workloads = plan.workloads

    def html(self) -> str:
        """The whole page."""
        parts = [
            self._head(),
            self._glance(),
            self._floors(),
            self._to_redirect(),
            *(self._compared(name) for name in QUESTIONS),
            self._same_config(),
            self._other_run(),
            self._cpu(),
            self._latency(),
            self._absolute(),
            self._method(),
        ]
        style = STYLE.read_text(encoding="utf-8")
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>What a mesh costs</title>\n<style>\n{style}</style></head>\n<body>\n"
            + "\n".join(part for part in parts if part)
            + "\n</body></html>\n"
        )

    def _head(self) -> str:
        machine, settings = self.store.machine, self.store.settings
        today = dt.datetime.now(dt.UTC).date().isoformat()
        facts = {
            "CPU": f"{machine['cpu']}, {machine['cpus']} in use",
            "memory": f"{machine['memory_mb'] / 1024:.0f} GiB",
            "kernel": f"Linux {machine['kernel']}, {machine['architecture']}",
            "programs": ", ".join(
                f"{name} {machine[name]}"
                for name in ("envoy", "nginx", "wrk", "h2load", "iptables", "python")
                if machine.get(name)
            ),
            "congestion control": settings["congestion"],
            "rounds": f"{self.store.rounds()}, {settings['seconds']} s a measurement",
            "load before": f"{machine['load_before']:.2f}",
        }
        rows = "".join(
            f"<tr><td class=muted>{name}</td><td>{escape(str(fact))}</td></tr>"
            for name, fact in facts.items()
        )
        return (
            "<h1>What a mesh costs, and what the short path saves</h1>"
            '<p class="lead">Two pods on one machine, an Envoy beside each application. '
            "Every figure is a ratio to Istio's iptables rules, of measurements in the "
            f"same round: median, and quartiles over the rounds. Made on {today} by "
            "<code>beewire bench mesh</code>.</p>"
            f'<table class="words">{rows}</table>{_legend(self.variants)}'
        )

    def _glance(self) -> str:
        def value(name: str) -> float | None:
            return self.figures[name].value

        return (
            "<section><h2>At a glance</h2><p>Requests a second, and CPU time a request, "
            "of client, server and both sidecars, to iptables: <i>1.3x, 0.7</i> is 1.3 "
            f"times as many requests, each with 0.7 of the CPU time.</p>{self._pairs(value)}"
            "</section>"
        )

    def _other_run(self) -> str:
        if self.beside is None:
            return ""
        settings = self.beside.settings
        return (
            f"<section><h2>The same with {escape(str(settings['congestion']))}</h2><p>"
            f"Another run, of {self.beside.rounds} rounds of {settings['seconds']} s, "
            f"whose pods use {escape(str(settings['congestion']))} as TCP's congestion "
            "control. Again requests a second, and CPU time a request, to iptables.</p>"
            f"{self._pairs(self.beside.value)}</section>"
        )

    def _pairs(self, value: Callable[[str], float | None]) -> str:
        others = [name for name in self.variants if name != BASE]
        head = "".join(f'<th class="v-{name}">{name}' for name in others)
        rows = []
        for workload in self.workloads:
            words = []
            for variant in others:
                requests = value(f"{variant}.{workload}.requests_ratio")
                cpu = value(f"{variant}.{workload}.cpu_per_request_ratio")
                both = requests is not None and cpu is not None
                words.append(
                    f"<td>{three(requests)}x, {three(cpu)}" if both else "<td>-"
                )
            rows.append(f"<tr><td>{workload}{''.join(words)}</tr>")
        return f'<div class="scroll"><table><tr><th>{head}</tr>{"".join(rows)}</table></div>'

    def _floors(self) -> str:
        floors = {
            name: floor
            for name, floor in FLOORS.items()
            if name in self.figures and "_to_" not in name
        }
        rows = "".join(self._reached(name, floor) for name, floor in floors.items())
        if not rows:
            return ""
        return (
            "<section><h2>What it has to reach</h2>"
            '<div class="scroll"><table class="words"><tr><th>variant<th>workload<th>figure'
            f"<th>floor<th>measured<th>quartiles<th></tr>{rows}</table></div></section>"
        )

    def _reached(self, name: str, floor: Floor) -> str:
        figure = self.figures[name]
        variant, workload, what = name.split(".")
        start = (
            f"<tr><td>{variant}<td>{workload}<td>{_said(what)}<td>{escape(str(floor))}"
        )
        if figure.value is None:
            return f'{start}<td>-<td><td class="muted">{escape(figure.reason)}</tr>'
        low, high = figure.spread or (figure.value, figure.value)
        word, mark = ("met", "met") if floor.met(figure.value) else ("not met", "unmet")
        return (
            f"{start}<td>{three(figure.value)}<td>{three(low)} to {three(high)}"
            f'<td class="{mark}">{word}</tr>'
        )

    def _to_redirect(self) -> str:
        tiers = [name for name in TIERS if name in self.variants]
        if REDIRECT not in self.variants or not tiers:
            return ""
        head = "".join(f'<th class="v-{name}">{name}' for name in tiers)
        rows = []
        for workload in self.workloads:
            cells = [
                self._held(f"{each}.{workload}.requests_to_redirect") for each in tiers
            ]
            rows.append(f"<tr><td>{workload}{''.join(cells)}</tr>")
        return (
            "<section><h2>What the short path adds to redirection</h2><p>Requests a second "
            "to those of <i>redirect</i> in the same round. Never slower is the aim: at "
            "least 0.95 where every connection is new on every leg, 0.97 elsewhere.</p>"
            f'<div class="scroll"><table><tr><th>{head}</tr>{"".join(rows)}</table></div>'
            "</section>"
        )

    def _held(self, name: str) -> str:
        figure, floor = self.figures[name], FLOORS.get(name)
        if figure.value is None:
            return "<td>-"
        mark = "" if floor is None else "met" if floor.met(figure.value) else "unmet"
        return f'<td class="{mark}">{_spread(figure)}'

    def _compared(self, name: str) -> str:
        title, better = QUESTIONS[name]
        rows = {
            workload: [self._row(variant, workload, name) for variant in self.variants]
            for workload in self.workloads
        }
        near = [
            bound
            for each in rows.values()
            for row in each
            if row.value is not None and row.variant not in FAR
            for bound in (
                *row.spread,
                row.value,
                *((row.floor.bound,) if row.floor else ()),
            )
        ]
        scale = Scale.around(near)
        figures = "".join(
            _figure(workload, WORKLOADS[workload].what, ratios(each, scale))
            for workload, each in rows.items()
        )
        return (
            f"<section><h2>{title}</h2><p>To iptables, {better}. A small dot is a round, "
            "the bar the middle half of them, the large dot the median; a bracket is a "
            "floor, open to where it is met; an arrow points to what lies outside.</p>"
            f'<div class="grid2">{figures}</div></section>'
        )

    def _row(self, variant: str, workload: str, name: str) -> Row:
        key = f"{variant}.{workload}.{name}_ratio"
        figure, kind = self.figures[key], VARIANTS[variant].kind
        if figure.value is None or figure.spread is None:
            return Row(
                variant, None, reason=why_not(self.figures, f"{variant}.{workload}")
            )
        ours, base = (variant, kind), (BASE, Kind.USUAL)
        rounds = self.samples.ratios(workload, ours, base, COMPARED[name])
        return Row(variant, figure.value, figure.spread, rounds, FLOORS.get(key))

    def _same_config(self) -> str:
        rows = []
        for name, figure in self.figures.items():
            if name.endswith("requests_ratio_same_config") and figure.value is not None:
                start = name.removesuffix("requests_ratio_same_config")
                cpu = self.figures[f"{start}cpu_per_request_ratio_same_config"]
                variant, workload, _ = name.split(".")
                usual = [
                    self.figures[f"{start}{each}_ratio"]
                    for each in ("requests", "cpu_per_request")
                ]
                words = [_spread(each) for each in (usual[0], figure, usual[1], cpu)]
                rows.append(
                    f"<tr><td>{variant}</td><td>{workload}</td>"
                    + "".join(f"<td>{word}</td>" for word in words)
                    + "</tr>"
                )
        if not rows:
            return ""
        return (
            "<section><h2>The same, with equal configurations</h2><p>The variants that "
            "pass sidecars by need ones that do nothing but pass bytes on, and such ones "
            "are faster by themselves. Here both ratios stand side by side: to iptables "
            "with HTTP in both sidecars, as a mesh has it, and to iptables with what the "
            "variant needs.</p>"
            '<div class="scroll"><table><tr><th>variant<th>workload'
            "<th>requests, usual<th>requests, equal<th>CPU, usual<th>CPU, equal</tr>"
            f"{''.join(rows)}</table></div></section>"
        )

    def _cpu(self) -> str:
        figures = "".join(
            _figure(
                workload,
                "us of CPU a request",
                cpu_bars([self._bar(variant, workload) for variant in self.variants]),
            )
            for workload in self.workloads
        )
        keys = [*PROCESSES, "kernel"]
        legend = "".join(
            f'<li class="p-{key}"><i></i>{key.replace("_", " ")}</li>' for key in keys
        )
        return (
            "<section><h2>Who uses the CPU</h2><p>By the cgroups' own accounting, medians "
            "of all rounds. The lighter part is user time, the darker one the kernel's "
            "work for it. What the kernel's own threads used meanwhile, which is not all "
            "for these four, is at the end, and is not part of the ratios above.</p>"
            f'<ul class="legend">{legend}</ul><div class="grid2">{figures}</div></section>'
        )

    def _bar(self, variant: str, workload: str) -> Bar:
        cells = list(
            self.samples.of(variant, workload, VARIANTS[variant].kind).values()
        )
        if not cells:
            return Bar(variant, {}, why_not(self.figures, f"{variant}.{workload}"))
        parts = {
            name: tuple(
                median(cell["cpu_us"][name][half] / cell["requests"] for cell in cells)
                for half in (0, 1)
            )
            for name in PROCESSES
        }
        kernel = median(cell["kernel_threads_us"] / cell["requests"] for cell in cells)
        return Bar(variant, parts | {"kernel": (0.0, kernel)})

    def _latency(self) -> str:
        figures = "".join(
            _figure(
                workload,
                WORKLOADS[workload].what,
                latency_curves(self._curves(workload), PERCENTS),
            )
            for workload in self.workloads
        )
        return (
            "<section><h2>How latencies are distributed</h2><p>Medians over the rounds of "
            "each round's percentiles. Up is rarer: the scale is that of the share of "
            "requests that took longer.</p>"
            f'<div class="grid2">{figures}</div></section>'
        )

    def _curves(self, workload: str) -> list[Curve]:
        curves = []
        for variant in self.variants:
            cells = self.samples.of(variant, workload, VARIANTS[variant].kind).values()
            spreads = [cell["spread_us"] for cell in cells if cell["spread_us"]]
            if spreads:
                latencies = [median(column) for column in zip(*spreads, strict=True)]
                curves.append(Curve(variant, latencies))
        return curves

    def _absolute(self) -> str:
        head = "".join(f"<th>{_said(name)}" for name in (*ABSOLUTE, "errors"))
        rows = []
        for workload in self.workloads:
            rows.append(f'<tr><th colspan="{len(ABSOLUTE) + 2}">{workload}</th></tr>')
            for variant in self.variants:
                name = f"{variant}.{workload}"
                found = [
                    self.figures[f"{name}.{each}"] for each in (*ABSOLUTE, "errors")
                ]
                words = "".join(f"<td>{_plain(figure)}</td>" for figure in found)
                rows.append(f"<tr><td>{variant}</td>{words}</tr>")
        return (
            "<section><h2>In numbers</h2><p>Medians over the rounds, as this machine did "
            "it then: ratios travel, these do not. Context switches and CPU are a "
            "request's; memory is that of the four processes; sockets that of queued data "
            "on the whole machine.</p>"
            f'<div class="scroll"><table><tr><th>{head}</tr>{"".join(rows)}</table></div>'
            "</section>"
        )

    def _method(self) -> str:
        variants = "".join(
            f"<tr><td>{name}</td><td>{escape(VARIANTS[name].what)}</td></tr>"
            for name in self.variants
        )
        missing = "".join(
            f"<li>{escape(each.variant)}: {escape(each.reason)}</li>"
            for each in self.store.missing
        )
        absent = f"<h3>Not measured here</h3><ul>{missing}</ul>" if missing else ""
        return (
            "<section><h2>How it was measured</h2><p>Each variant has two pods of its own "
            "(network namespaces behind veth pairs, a router between them), cgroups, two "
            "Envoys of one worker with what istiod pushes, nginx with one process, wrk or "
            "h2load with one thread. All variants of a workload are measured one after "
            "the other, in the next round in the opposite order, and compared within the "
            "round. Before the first round the way of the connections is checked: which "
            "sidecars they pass. Pods use the congestion control named above, whatever "
            "the machine's is.</p>"
            f'<table class="words">{variants}</table>{absent}'
            "<p>To repeat it: <code>make setup</code>, then <code>beewire bench mesh "
            "--json mesh.json --html mesh.html</code>.</p></section>"
        )


def report(
    store: Store, plan: Plan, figures: Figures, beside: Beside | None = None
) -> str:
    """The page."""
    return Page(store, plan, figures, beside).html()


def _figure(name: str, caption: str, picture: str) -> str:
    said = f"<figcaption><b>{escape(name)}</b> {escape(caption)}</figcaption>"
    return f"<figure>{said}{picture}</figure>"


def _legend(variants: Sequence[str]) -> str:
    items = "".join(
        f'<li><span class="v-{name}"><i></i></span>{name}: {escape(VARIANTS[name].what)}</li>'
        for name in variants
    )
    return f'<ul class="legend">{items}</ul>'


def _spread(figure: Figure) -> str:
    if figure.value is None:
        return "-"
    low, high = figure.spread or (figure.value, figure.value)
    return f"{three(figure.value)} ({three(low)} to {three(high)})"


def _plain(figure: Figure) -> str:
    if figure.value is None:
        return "-"
    digits = 0 if figure.value >= 100 or figure.value == int(figure.value) else 2
    return f"{figure.value:,.{digits}f}"


def _said(name: str) -> str:
    return name.replace("_ratio", "").replace("_", " ")
