"""The sections of a report that are tables."""

from collections.abc import Callable, Iterable
from html import escape

from _mesh_figures import ABSOLUTE, FLOORS, REDIRECT, TIERS, Floor
from _mesh_plots import three
from _mesh_variants import BASE
from _mesh_view import View, said, spread
from _report import Figure


class Tables(View):
    """Sections as HTML; "" where a run has nothing for one."""

    def glance(self) -> str:
        """Requests and CPU of everything, to iptables."""

        def value(name: str) -> float | None:
            return self.figures[name].value

        return (
            "<section><h2>At a glance</h2><p>Requests a second, and CPU time a request, "
            "of client, server and both sidecars, to iptables: <i>1.3x, 0.7</i> is 1.3 "
            f"times as many requests, each with 0.7 of the CPU time.</p>{self._pairs(value)}"
            "</section>"
        )

    def other_run(self) -> str:
        """The same of the run beside this one."""
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
        return _table(f"<th>{head}", rows)

    def floors(self) -> str:
        """What the variants have to reach."""
        floors = {
            name: floor
            for name, floor in FLOORS.items()
            if name in self.figures and "_to_" not in name
        }
        rows = [self._reached(name, floor) for name, floor in floors.items()]
        if not rows:
            return ""
        head = "<th>variant<th>workload<th>figure<th>floor<th>measured<th>quartiles<th>"
        return (
            "<section><h2>What it has to reach</h2>"
            f"{_table(head, rows, 'words')}</section>"
        )

    def _reached(self, name: str, floor: Floor) -> str:
        figure = self.figures[name]
        variant, workload, what = name.split(".")
        start = (
            f"<tr><td>{variant}<td>{workload}<td>{said(what)}<td>{escape(str(floor))}"
        )
        if figure.value is None:
            return f'{start}<td>-<td><td class="muted">{escape(figure.reason)}</tr>'
        low, high = figure.spread or (figure.value, figure.value)
        word, mark = ("met", "met") if floor.met(figure.value) else ("not met", "unmet")
        return (
            f"{start}<td>{three(figure.value)}<td>{three(low)} to {three(high)}"
            f'<td class="{mark}">{word}</tr>'
        )

    def to_redirect(self) -> str:
        """What the short path adds."""
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
            f"{_table(f'<th>{head}', rows)}</section>"
        )

    def _held(self, name: str) -> str:
        figure, floor = self.figures[name], FLOORS.get(name)
        if figure.value is None:
            return "<td>-"
        mark = "" if floor is None else "met" if floor.met(figure.value) else "unmet"
        return f'<td class="{mark}">{spread(figure)}'

    def same_config(self) -> str:
        """Both ratios of what needs L4-only sidecars."""
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
                words = [spread(each) for each in (usual[0], figure, usual[1], cpu)]
                rows.append(
                    f"<tr><td>{variant}</td><td>{workload}</td>"
                    + "".join(f"<td>{word}</td>" for word in words)
                    + "</tr>"
                )
        if not rows:
            return ""
        head = (
            "<th>variant<th>workload<th>requests, usual<th>requests, equal"
            "<th>CPU, usual<th>CPU, equal"
        )
        return (
            "<section><h2>The same, with equal configurations</h2><p>The variants that "
            "pass sidecars by need ones that do nothing but pass bytes on, and such ones "
            "are faster by themselves. Here both ratios stand side by side: to iptables "
            "with HTTP in both sidecars, as a mesh has it, and to iptables with what the "
            "variant needs.</p>"
            f"{_table(head, rows, 'pairs')}</section>"
        )

    def absolute(self) -> str:
        """Figures by themselves."""
        head = "".join(f"<th>{said(name)}" for name in (*ABSOLUTE, "errors"))
        rows = []
        for workload in self.workloads:
            rows.append(
                f'<tbody><tr><th colspan="{len(ABSOLUTE) + 2}">{workload}</th></tr>'
            )
            for variant in self.variants:
                name = f"{variant}.{workload}"
                found = [
                    self.figures[f"{name}.{each}"] for each in (*ABSOLUTE, "errors")
                ]
                words = "".join(f"<td>{_plain(figure)}</td>" for figure in found)
                rows.append(f"<tr><td>{variant}</td>{words}</tr>")
            rows.append("</tbody>")
        return (
            "<section><h2>In numbers</h2><p>Medians over the rounds, as this machine did "
            "it then: ratios travel, these do not. Context switches and CPU are a "
            "request's; memory is that of the four processes; sockets that of queued data "
            "on the whole machine.</p>"
            f"{_table(f'<th>{head}', rows, 'groups')}</section>"
        )


def _table(head: str, rows: Iterable[str], kind: str = "") -> str:
    # In print each page has the head.
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"{''.join(rows)}</table></div>"
    )


def _plain(figure: Figure) -> str:
    if figure.value is None:
        return "-"
    digits = 0 if figure.value >= 100 or figure.value == int(figure.value) else 2
    return f"{figure.value:,.{digits}f}"
