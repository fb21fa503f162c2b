"""What the sections of a report share: the run, its figures, and how numbers look."""

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import NamedTuple

from _mesh_figures import Samples
from _mesh_plots import three
from _mesh_run import Plan
from _mesh_store import Store
from _report import Figure

from beewire.errors import UsageError

Figures = Mapping[str, Figure]


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


class View:
    """One run, as its report shows it: without variants that could not be had at all."""

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


def spread(figure: Figure) -> str:
    """A median with its quartiles, in words."""
    if figure.value is None:
        return "-"
    low, high = figure.spread or (figure.value, figure.value)
    return f"{three(figure.value)} ({three(low)} to {three(high)})"


def said(name: str) -> str:
    """A figure's name, in words."""
    return name.replace("_ratio", "").replace("_mb", "_MiB").replace("_", " ")


def figure(name: str, caption: str, picture: str) -> str:
    """A picture with its caption."""
    said = f"<figcaption><b>{escape(name)}</b> {escape(caption)}</figcaption>"
    return f"<figure>{said}{picture}</figure>"
