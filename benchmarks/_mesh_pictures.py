"""The sections of a report that are pictures."""

from statistics import median

from _mesh_cells import PROCESSES
from _mesh_figures import COMPARED, FLOORS
from _mesh_plots import Bar, Curve, Row, Scale, cpu_bars, latency_curves, ratios
from _mesh_table import why_not
from _mesh_variants import BASE, VARIANTS
from _mesh_view import View, figure
from _mesh_workloads import WORKLOADS, Kind

from beewire.mesh.lab.load import PERCENTS

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


class Pictures(View):
    """Sections as HTML with SVG in it."""

    def compared(self, name: str) -> str:
        """A picture a workload of one ratio."""
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
            figure(workload, WORKLOADS[workload].what, ratios(each, scale))
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

    def cpu(self) -> str:
        """Who uses the CPU."""
        figures = "".join(
            figure(
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

    def latency(self) -> str:
        """How latencies are distributed."""
        figures = "".join(
            figure(
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
