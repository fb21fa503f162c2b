"""The figures of a run as lines of text."""

from collections.abc import Mapping, Sequence

from _mesh_figures import FLOORS
from _report import Figure

COLUMNS = (
    ("requests_ratio", "req/s"),
    ("p50_ratio", "p50"),
    ("p99_ratio", "p99"),
    ("cpu_per_request_ratio", "CPU"),
    ("errors", "errors"),
)
NARROW, WIDE = 15, 24


def table(
    figures: Mapping[str, Figure], variants: Sequence[str], workloads: Sequence[str]
) -> list[str]:
    """A block a workload, a line a variant; floors stand beside what they ask of."""
    head = "".join(f"{label:<{WIDE}}" for _, label in COLUMNS)
    lines = [f"{'to iptables':<{NARROW}}  {head}".rstrip()]
    absent = {name: _absent(figures, name, workloads) for name in variants}
    for workload in workloads:
        lines.append(workload)
        there = [name for name in variants if not absent[name]]
        lines += [_line(figures, name, workload) for name in there]
    lines += [f"{name}: {reason}" for name, reason in absent.items() if reason]
    there = [name for name in variants if not absent[name]]
    return lines + [f"no ratio to {why}" for why in _unbased(figures, there, workloads)]


def _unbased(
    figures: Mapping[str, Figure], variants: Sequence[str], workloads: Sequence[str]
) -> list[str]:
    # Why what was measured has no ratio: what it is compared with was not.
    names = [f"{variant}.{workload}" for variant in variants for workload in workloads]
    reasons = [
        figures[f"{name}.requests_ratio"].reason
        for name in names
        if not why_not(figures, name)
    ]
    return [reason for reason in dict.fromkeys(reasons) if reason]


def _absent(
    figures: Mapping[str, Figure], variant: str, workloads: Sequence[str]
) -> str:
    # The one reason why nothing at all was measured; "" if something was.
    reasons = {why_not(figures, f"{variant}.{workload}") for workload in workloads}
    return reasons.pop() if len(reasons) == 1 else ""


def _line(figures: Mapping[str, Figure], variant: str, workload: str) -> str:
    start = f"  {variant:<{NARROW}}"
    name = f"{variant}.{workload}"
    if reason := why_not(figures, name):
        return f"{start}{reason}"
    words = [_word(figures, f"{name}.{column}") for column, _ in COLUMNS]
    return (start + "".join(f"{word:<{WIDE}}" for word in words)).rstrip()


def why_not(figures: Mapping[str, Figure], name: str) -> str:
    """Why nothing was measured of a variant's workload; "" if something was."""
    errors = figures[f"{name}.errors"]
    return "" if errors.value is not None else errors.reason


def _word(figures: Mapping[str, Figure], name: str) -> str:
    figure = figures[name]
    if figure.value is None:
        return "-"
    if figure.unit == "count":
        return f"{figure.value:.0f}"
    low, high = figure.spread or (figure.value, figure.value)
    word = f"{figure.value:.2f} {low:.2f}-{high:.2f}"
    floor = FLOORS.get(name)
    if floor is None:
        return word
    return f"{word} {'' if floor.met(figure.value) else '!'}{floor}"
