"""The report of a run: one HTML page that needs nothing else."""

import datetime as dt
from collections.abc import Sequence
from html import escape
from pathlib import Path

from _mesh_pictures import QUESTIONS, Pictures
from _mesh_placement import PLACEMENTS
from _mesh_run import Plan
from _mesh_store import Store
from _mesh_tables import Tables
from _mesh_variants import VARIANTS
from _mesh_view import Beside, Figures

STYLE = Path(__file__).with_name("_mesh.css")


class Page(Tables, Pictures):
    """The whole page."""

    def html(self) -> str:
        """The whole page."""
        parts = [
            self._head(),
            self.glance(),
            self.floors(),
            self.to_redirect(),
            *(self.compared(name) for name in QUESTIONS),
            self.same_config(),
            self.other_run(),
            self.cpu(),
            self.latency(),
            self.absolute(),
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
        begun = machine.get("begun", today)
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
            "placement": PLACEMENTS[str(settings["placement"])],
            "workers of a sidecar": settings["workers"],
            "lists of free pages": settings["page_lists"],
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
            f"same round: median, and quartiles over the rounds. Begun on {begun} by "
            "<code>beewire bench mesh</code>.</p>"
            f'<table class="words">{rows}</table>{_legend(self.variants)}'
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
            "<p>To repeat it: <code>make setup</code>, then <code>beewire bench mesh"
            f"{self._options()} --json mesh.json --html mesh.html</code>.</p></section>"
        )

    def _options(self) -> str:
        # Of the command that has measured this.
        settings = self.store.settings
        given = {"rounds": self.store.rounds(), **settings}
        names = ("rounds", "seconds", "congestion", "placement", "workers")
        return "".join(f" --{name} {escape(str(given[name]))}" for name in names)


def report(
    store: Store, plan: Plan, figures: Figures, beside: Beside | None = None
) -> str:
    """The page."""
    return Page(store, plan, figures, beside).html()


def _legend(variants: Sequence[str]) -> str:
    items = "".join(
        f'<li><span class="v-{name}"><i></i></span>{name}: {escape(VARIANTS[name].what)}</li>'
        for name in variants
    )
    return f'<ul class="legend">{items}</ul>'
