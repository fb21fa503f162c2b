"""What the demo makes of its samples."""

import pytest

from beewire.mesh.lab.demo import DemoConfig, DemoResult, Side
from beewire.mesh.lab.follow import Hop
from beewire.mesh.lab.load import LoadResult
from beewire.mesh.lab.report import as_json
from beewire.mesh.lab.sampling import Sample
from beewire.mesh.lab.table import Style, figures_table, hops_table

RATIOS = (
    "requests_ratio",
    "p50_ratio",
    "p99_ratio",
    "cpu_per_request_ratio",
    "new_connections_ratio",
)
COUNTS = ("errors", "conntrack_entries", "iptables_rules")
HOPS = (
    Hop("application", "10.77.1.2:4242 dialled 10.77.2.2:80", "getpeername"),
    Hop("", "was told 10.77.2.2:80", "SO_ORIGINAL_DST"),
)


def sample(requests: int, *, cpu_us: int = 1000, conntrack: int = 0) -> Sample:
    load = LoadResult(
        requests=requests,
        duration_us=1_000_000,
        p50_us=2000,
        p99_us=4000,
        max_us=9000,
        missing=1,
        connect=0,
        read=0,
        write=0,
        status=0,
        timeout=0,
    )
    return Sample(load, 1_000_000, cpu_us, conntrack, other_cpu_us=500_000)


def result(old: list[Sample], new: list[Sample]) -> DemoResult:
    return DemoResult(
        DemoConfig(seconds=1, rounds=len(old)),
        Side("iptables", old, old, old, 15, HOPS),
        Side("beewire", new, new, new, 0, HOPS),
    )


@pytest.fixture
def measured() -> DemoResult:
    old = [sample(100, conntrack=40), sample(200, conntrack=70), sample(100)]
    return result(old, [sample(110), sample(240), sample(150)])


def figures(measured: DemoResult) -> dict[str, dict[str, object]]:
    found = as_json(measured)["figures"]
    assert isinstance(found, dict)
    return found


def test_ratio_is_the_median_of_the_rounds_own(measured: DemoResult) -> None:
    assert figures(measured)["requests_ratio"] == {
        "value": 1.2,
        "spread": [1.15, 1.35],
        "unit": "ratio",
        "against": "iptables",
    }


@pytest.mark.parametrize("name", RATIOS)
def test_every_ratio_is_written_with_its_base(measured: DemoResult, name: str) -> None:
    figure = figures(measured)[name]

    assert (figure["unit"], figure["against"]) == ("ratio", "iptables")


@pytest.mark.parametrize("name", COUNTS)
def test_every_count_is_written_as_a_count(measured: DemoResult, name: str) -> None:
    assert figures(measured)[name]["unit"] == "count"


def test_counts_are_beewires_own(measured: DemoResult) -> None:
    found = figures(measured)

    assert found["iptables_rules"]["value"] == 0
    assert found["conntrack_entries"]["value"] == 0
    assert found["errors"]["value"] == 9


def test_most_conntrack_entries_of_any_moment_are_told(measured: DemoResult) -> None:
    assert figures(measured)["iptables.conntrack_entries"]["value"] == 70


def test_cpus_that_others_kept_busy_are_told(measured: DemoResult) -> None:
    assert figures(measured)["other_cpu"] == {
        "value": 0.5,
        "spread": [0.5, 0.5],
        "unit": "cores",
    }


def test_form_is_that_of_every_benchmark(measured: DemoResult) -> None:
    written = as_json(measured)

    assert written["benchmark"] == "demo"
    assert written["rounds"] == 3
    assert written["machine"]


def test_ratio_without_a_base_is_null_with_a_reason() -> None:
    figure = figures(result([sample(0)], [sample(100)]))["requests_ratio"]

    assert figure["value"] is None
    assert figure["reason"] == "a round under iptables got no answer"


def test_ratio_without_an_answer_of_ours_is_null_and_no_feat() -> None:
    silent = result([sample(100)], [sample(0)])

    found = figures(silent)

    assert found["cpu_per_request_ratio"]["value"] is None
    assert (
        found["cpu_per_request_ratio"]["reason"]
        == "a round under beewire got no answer"
    )
    assert found["beewire.p50"]["value"] is None
    assert found["beewire.p50"]["reason"] == "a round got no answer"
    assert "no answer" in figures_table(silent, Style())


def test_one_round_has_no_spread() -> None:
    figure = figures(result([sample(100)], [sample(120)]))["requests_ratio"]

    assert figure["spread"] == [1.2, 1.2]


def test_plain_table_is_ascii_without_escapes(measured: DemoResult) -> None:
    text = figures_table(measured, Style()) + hops_table(HOPS, Style())

    assert text.isascii()
    assert "\x1b" not in text


def test_columns_line_up_with_and_without_colour(measured: DemoResult) -> None:
    plain = figures_table(measured, Style())
    coloured = figures_table(measured, Style(colour=True))

    for code in ("0", "1", "2", "31", "32"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured == plain


def test_terminal_that_speaks_unicode_reads_microseconds(measured: DemoResult) -> None:
    assert "CPU per request, µs" in figures_table(measured, Style(unicode=True))
