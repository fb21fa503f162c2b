"""Figures from cells: ratios of the same round, their medians and quartiles.

VARIANT.WORKLOAD.FIGURE, where FIGURE is

    requests_ratio  p50_ratio  p99_ratio  cpu_per_request_ratio   to iptables
    errors                                                        of all rounds
    requests_per_s  p50_us  p99_us  cpu_per_request_us  kernel_threads_us
    context_switches  conntrack_entries  memory_mb  socket_mb     by themselves
    requests_to_redirect  cpu_to_redirect                         of the short path's tiers
    requests_ratio_same_config  ...                               of shortcut and splice

`shortcut` and `splice` need sidecars that do nothing but pass bytes on. Their ratios are
to iptables with the usual configuration, HTTP; `_same_config` are to iptables with the
configuration that they need, which is faster by itself.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from _mesh_cells import Cell
from _mesh_store import Missing
from _mesh_variants import BASE, VARIANTS
from _mesh_workloads import WORKLOADS, Kind
from _report import Figure, measured, missing

Measure = Callable[[Cell], float]
REDIRECT = "redirect"
# Held against redirect: what the short path must not spoil.
TIERS = ("sidecars", "all", "shortcut", "splice")


def _cpu(cell: Cell) -> float:
    return sum(map(sum, cell["cpu_us"].values())) / cell["requests"]


def _switches(cell: Cell) -> float:
    return sum(map(sum, cell["switches"].values())) / cell["requests"]


COMPARED: dict[str, Measure] = {
    "requests": lambda cell: cell["requests"] / cell["duration_us"] * 1e6,
    "p50": lambda cell: cell["p50_us"],
    "p99": lambda cell: cell["p99_us"],
    "cpu_per_request": _cpu,
}
ABSOLUTE: dict[str, tuple[str, Measure]] = {
    "requests_per_s": ("1/s", COMPARED["requests"]),
    "p50_us": ("us", COMPARED["p50"]),
    "p99_us": ("us", COMPARED["p99"]),
    "cpu_per_request_us": ("us", _cpu),
    "kernel_threads_us": ("us", lambda c: c["kernel_threads_us"] / c["requests"]),
    "context_switches": ("count", _switches),
    "conntrack_entries": ("count", lambda cell: cell["conntrack"]),
    "memory_mb": ("MiB", lambda cell: sum(cell["memory_kb"].values()) / 1024),
    "socket_mb": ("MiB", lambda cell: cell["socket_kb"] / 1024),
}


class Floor(NamedTuple):
    """What a figure must reach: at least, or at most, `bound`."""

    bound: float
    least: bool

    def met(self, value: float) -> bool:
        """Whether `value` reaches it."""
        return value >= self.bound if self.least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.least else '<='} {self.bound:g}"


def _floors() -> dict[str, Floor]:
    # cpu (at most), requests (at least), p50 (at most) to iptables.
    told: dict[str, dict[str, tuple[float | None, float | None, float | None]]] = {
        "sidecars": {
            "http_c1": (None, None, 0.80),
            "http_c16": (0.82, 1.15, None),
            "http_64k": (0.85, None, None),
            "http_1m": (0.83, None, None),
            "tcp_c16": (0.78, 1.28, None),
            "tcp_close16": (None, 1.08, None),
        },
        "all": {
            "http_c1": (None, None, 0.68),
            "http_c16": (0.70, 1.30, None),
            "http_64k": (0.68, 1.5, None),
            "http_1m": (0.75, None, None),
            "tcp_c16": (0.56, 1.75, None),
            "tcp_close16": (None, 1.08, None),
            "mtls_c16": (0.75, None, None),
        },
        "shortcut": {"http_c16": (0.32, 3.0, None)},
        "splice": {"http_c16": (None, 15.0, None)},
    }
    kinds = (("cpu_per_request", False), ("requests", True), ("p50", False))
    found = {
        f"{variant}.{workload}.{name}_ratio": Floor(bound, least)
        for variant, workloads in told.items()
        for workload, bounds in workloads.items()
        for bound, (name, least) in zip(bounds, kinds, strict=True)
        if bound is not None
    }
    for variant in TIERS[:2]:
        for workload in WORKLOADS:
            bound = 0.95 if workload == "tcp_close16" else 0.97
            name = f"{variant}.{workload}.requests_to_redirect"
            found[name] = Floor(bound, least=True)
    return found


FLOORS = _floors()


class Samples:
    """Cells by what they are of."""

    def __init__(self, cells: Iterable[Cell], absent: Iterable[Missing] = ()) -> None:
        self._cells: dict[tuple[str, str, str], dict[int, Cell]] = {}
        for cell in cells:
            key = cell["variant"], cell["workload"], cell["kind"]
            self._cells.setdefault(key, {})[cell["round"]] = cell
        self._absent = {(each.variant, each.workload): each.reason for each in absent}

    def of(self, variant: str, workload: str, kind: Kind) -> dict[int, Cell]:
        """The cells of every round that has one with an answer."""
        cells = self._cells.get((variant, workload, kind.value), {})
        return {number: cell for number, cell in cells.items() if cell.get("requests")}

    def reason(self, variant: str, workload: str, kind: Kind) -> str:
        """Why there is no cell with an answer."""
        if kind not in WORKLOADS[workload].ports:
            return "mutual TLS has no way past a sidecar"
        for key in ((variant, ""), (variant, workload)):
            if key in self._absent:
                return self._absent[key]
        for cell in self._cells.get((variant, workload, kind.value), {}).values():
            return str(cell.get("failed") or "no request was answered")
        return "not measured"

    def ratios(
        self,
        workload: str,
        ours: tuple[str, Kind],
        base: tuple[str, Kind],
        measure: Measure,
    ) -> list[float]:
        """Ours to the base, of each round that has both."""
        new, old = (
            self.of(ours[0], workload, ours[1]),
            self.of(base[0], workload, base[1]),
        )
        return [
            measure(new[number]) / measure(old[number])
            for number in sorted(new.keys() & old.keys())
            if measure(old[number])
        ]


def figures(
    samples: Samples, variants: Sequence[str], workloads: Sequence[str]
) -> dict[str, Figure]:
    """Every figure of every variant and workload; null ones have a reason."""
    found: dict[str, Figure] = {}
    for variant in variants:
        for workload in workloads:
            made = _of_one(samples, variant, workload)
            names = {f"{variant}.{workload}.{name}": made[name] for name in made}
            found.update(names)
    return found


def _of_one(samples: Samples, variant: str, workload: str) -> dict[str, Figure]:
    kind, ports = VARIANTS[variant].kind, WORKLOADS[workload].ports
    found = _ratios(samples, workload, (variant, kind), (BASE, Kind.USUAL), "_ratio")
    found["errors"] = _errors(samples, variant, workload, kind)
    found.update(_absolute(samples, variant, workload, kind))
    if variant in TIERS:
        redirect = _ratios(
            samples, workload, (variant, kind), (REDIRECT, Kind.USUAL), "_to_redirect"
        )
        found["requests_to_redirect"] = redirect["requests_to_redirect"]
        found["cpu_to_redirect"] = redirect["cpu_per_request_to_redirect"]
    if kind is not Kind.USUAL and ports.get(kind) != ports.get(Kind.USUAL):
        same = (variant, kind), (BASE, kind)
        found.update(_ratios(samples, workload, *same, "_ratio_same_config"))
    return found


def _ratios(
    samples: Samples,
    workload: str,
    ours: tuple[str, Kind],
    base: tuple[str, Kind],
    ending: str,
) -> dict[str, Figure]:
    against = base[0] if base[1] is Kind.USUAL else f"{base[0]}, {base[1].value} ports"
    found = {}
    for name, measure in COMPARED.items():
        ratios = samples.ratios(workload, ours, base, measure)
        if ratios:
            found[name + ending] = measured(ratios, "ratio", against)
            continue
        lacking = ours if not samples.of(ours[0], workload, ours[1]) else base
        reason = samples.reason(lacking[0], workload, lacking[1])
        why = f"{lacking[0]}: {reason}"
        found[name + ending] = missing("ratio", why, against)
    return found


def _errors(samples: Samples, variant: str, workload: str, kind: Kind) -> Figure:
    cells = samples.of(variant, workload, kind).values()
    if not cells:
        return missing("count", samples.reason(variant, workload, kind))
    total = sum(cell["errors"] for cell in cells)
    return Figure(total, "count", (total, total))


def _absolute(
    samples: Samples, variant: str, workload: str, kind: Kind
) -> dict[str, Figure]:
    cells = samples.of(variant, workload, kind).values()
    reason = "" if cells else samples.reason(variant, workload, kind)
    return {
        name: measured([measure(cell) for cell in cells], unit)
        if cells
        else missing(unit, reason)
        for name, (unit, measure) in ABSOLUTE.items()
    }
