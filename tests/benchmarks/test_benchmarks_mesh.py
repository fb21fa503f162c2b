"""`beewire bench mesh`: plans, figures from cells, runs that go on, the table, the page."""

import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from beewire.errors import UsageError
from beewire.mesh.lab.tools import find

CHECKOUT = Path(__file__).parents[2]
BENCHMARKS = CHECKOUT / "benchmarks"

Cell = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """The benchmarks' helpers, which lie beside them."""
    pytest.importorskip("pyroute2", reason="needs the extra `lab`")
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def cell(
    variant: str, number: int, requests: int, kind: str = "usual", **more: Any
) -> Cell:
    """What a variant measured in a round of a second: 10 us of CPU in each process."""
    us = [4, 6]
    processes = ("client", "sidecar_a", "sidecar_b", "server")
    return {
        "round": number,
        "workload": "http_c16",
        "variant": variant,
        "kind": kind,
        "requests": requests,
        "duration_us": 1_000_000,
        "p50_us": 1_000_000 // requests,
        "p99_us": 3_000_000 // requests,
        "spread_us": [1000, 2000, 2500, 3000, 4000, 5000, 6000, 7000, 9000, 20000],
        "errors": 0,
        "cpu_us": {name: [each * 100 for each in us] for name in processes},
        "switches": {name: [3, 1] for name in processes},
        "kernel_threads_us": 200,
        "conntrack": 32 if variant == "iptables" else 0,
        "memory_kb": dict.fromkeys(processes, 1024),
        "socket_kb": 512,
        **more,
    }


ROUNDS = [
    cell("iptables", 0, 1000),
    cell("redirect", 0, 1100),
    cell("all", 0, 1500),
    # A slow round is slow for all.
    cell("iptables", 1, 500),
    cell("redirect", 1, 550),
    cell("all", 1, 700),
]
VARIANTS = ("iptables", "redirect", "all")


def figures(cells: list[Cell], variants: tuple[str, ...] = VARIANTS) -> dict[str, Any]:
    made = module("_mesh_figures")
    found: dict[str, Any] = made.figures(made.Samples(cells), variants, ["http_c16"])
    return found


def test_ratios_are_of_the_same_round() -> None:
    found = figures(ROUNDS)

    assert found["all.http_c16.requests_ratio"].value == pytest.approx(1.45)
    assert found["redirect.http_c16.requests_ratio"].spread == pytest.approx((1.1, 1.1))
    assert found["all.http_c16.requests_to_redirect"].value == pytest.approx(
        (1500 / 1100 + 700 / 550) / 2
    )
    assert found["all.http_c16.requests_ratio"].against == "iptables"


def test_cpu_is_that_of_all_four_processes() -> None:
    found = figures(ROUNDS)

    assert found["iptables.http_c16.cpu_per_request_us"].value == pytest.approx(6)
    assert found["all.http_c16.cpu_per_request_ratio"].value == pytest.approx(
        (1000 / 1500 + 500 / 700) / 2
    )


def test_what_is_at_other_ports_has_both_ratios() -> None:
    cells = [
        cell("iptables", 0, 1000),
        cell("iptables", 0, 2000, "l4"),
        cell("splice", 0, 18000, "l4"),
    ]

    found = figures(cells, ("iptables", "splice"))

    assert found["splice.http_c16.requests_ratio"].value == 18
    same = found["splice.http_c16.requests_ratio_same_config"]
    assert (same.value, same.against) == (9, "iptables, l4 ports")


def test_a_round_that_lacks_its_base_does_not_count() -> None:
    cells = [*ROUNDS, cell("all", 2, 9000)]

    found = figures(cells)

    assert found["all.http_c16.requests_ratio"].value == pytest.approx(1.45)


def test_a_cell_that_failed_is_null_with_its_reason() -> None:
    failed = {"round": 0, "workload": "http_c16", "variant": "all", "kind": "usual"}
    cells = [cell("iptables", 0, 1000), failed | {"failed": "wrk gave no result"}]

    found = figures(cells, ("iptables", "all"))

    for name in ("requests_ratio", "p50_us", "errors"):
        figure = found[f"all.http_c16.{name}"]
        assert figure.value is None
        assert "wrk gave no result" in figure.reason


def test_errors_of_all_rounds_are_summed() -> None:
    cells = [cell("iptables", 0, 10, errors=2), cell("iptables", 1, 10, errors=3)]

    assert figures(cells, ("iptables",))["iptables.http_c16.errors"].value == 5


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [
        ("all.http_c16.cpu_per_request_ratio", 0.70, True),
        ("all.http_c16.cpu_per_request_ratio", 0.71, False),
        ("all.http_c16.requests_ratio", 1.29, False),
        ("splice.http_c16.requests_ratio", 15.0, True),
        ("sidecars.tcp_close16.requests_to_redirect", 0.95, True),
        ("sidecars.mixed.requests_to_redirect", 0.96, False),
    ],
)
def test_floors_are_reached_or_not(name: str, value: float, met: bool) -> None:
    assert module("_mesh_figures").FLOORS[name].met(value) is met


def plan(variants: tuple[str, ...], workloads: tuple[str, ...]) -> Any:
    asked = module("_mesh_variants").Asked()
    return module("_mesh_run").Plan(variants, workloads, 2, 1, asked)


def test_a_variant_at_other_ports_has_iptables_at_the_same_before_it() -> None:
    variants = ("iptables", "all", "splice")

    entries = plan(variants, ("http_c16",)).entries("http_c16", variants)

    assert [(each.variant, each.kind.value) for each in entries] == [
        ("iptables", "usual"),
        ("all", "usual"),
        ("iptables", "l4"),
        ("splice", "l4"),
    ]


def test_what_is_tcp_for_sidecars_anyway_is_measured_once() -> None:
    variants = ("iptables", "splice")

    entries = plan(variants, ("tcp_c16",)).entries("tcp_c16", variants)

    assert [each.variant for each in entries] == ["iptables", "splice"]


def test_ways_past_sidecars_have_no_place_where_tls_is_spoken() -> None:
    variants = ("iptables", "all", "shortcut", "splice")

    entries = plan(variants, ("mtls_c16",)).entries("mtls_c16", variants)

    assert [each.variant for each in entries] == ["iptables", "all"]


SETTINGS = {
    "variants": "iptables",
    "seconds": 1,
    "congestion": "reno",
    "placement": "spread",
    "workers": 1,
    "page_lists": "as-is",
}
MACHINE = {"cpu": "a cpu", "cpus": 2, "memory_mb": 2048, "kernel": "6.18", "envoy": "1"}
MACHINE |= {"architecture": "x86_64", "load_before": 0.5, "begun": "2026-11-26"}


def store(path: Path, **changed: object) -> Any:
    return module("_mesh_store").Store(path, MACHINE, SETTINGS | changed)


def usual(variant: str) -> Any:
    kind = module("_mesh_workloads").Kind.USUAL
    return module("_mesh_store").Entry(variant, kind)


def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    first = store(path)
    first.put(0, "http_c16", {usual("iptables"): cell("iptables", 0, 1000)})
    first.write({})

    second = store(path)

    assert second.cells == first.cells
    assert second.has(0, "http_c16", [usual("iptables")])
    assert not second.has(0, "http_c16", [usual("iptables"), usual("all")])
    assert not second.has(1, "http_c16", [usual("iptables")])
    assert second.rounds() == 1


def test_a_group_that_is_measured_again_takes_the_place_of_the_old(
    tmp_path: Path,
) -> None:
    kept = store(tmp_path / "run.json")
    for requests in (1000, 2000):
        cells = {usual("iptables"): cell("iptables", 0, requests)}
        kept.put(0, "http_c16", cells)

    assert [each["requests"] for each in kept.cells] == [2000]


def test_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    store(path, seconds=2).write({})

    with pytest.raises(UsageError, match="is of a run with seconds 2"):
        store(path)


@pytest.mark.parametrize("content", ["{}", "[]", "not json", '{"settings": 1}'])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)

    with pytest.raises(UsageError, match="is no file of this benchmark"):
        store(path)


def test_the_file_has_the_form_of_all_benchmarks(tmp_path: Path) -> None:
    kept = store(tmp_path / "run.json")
    for each in ROUNDS:
        entry = usual(each["variant"])
        kept.put(each["round"], f"w{each['variant']}", {entry: each})
    kept.write(figures(ROUNDS))

    written = json.loads((tmp_path / "run.json").read_text())

    assert written["benchmark"] == "mesh"
    assert written["machine"]["kernel"] == "6.18"
    assert len(written["cells"]) == 6
    figure = written["figures"]["all.http_c16.requests_ratio"]
    assert figure["unit"] == "ratio"
    assert figure["spread"] == [1.425, 1.475]


def test_the_table_says_which_floor_is_not_reached() -> None:
    lines = module("_mesh_table").table(figures(ROUNDS), VARIANTS, ["http_c16"])

    [line] = [each for each in lines if each.strip().startswith("all")]
    assert "1.45 1.42-1.48 >= 1.3" in line
    assert "!<= 0.7" not in line
    assert "0.69 " in line


def test_the_table_says_why_there_are_no_ratios() -> None:
    without = [each for each in ROUNDS if each["variant"] != "iptables"]

    lines = module("_mesh_table").table(
        figures(without, ("redirect", "all")), ("redirect", "all"), ("http_c16",)
    )

    assert lines[-1] == "no ratio to iptables: not measured"


class Checker(HTMLParser):
    """What a page takes from elsewhere, and its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.from_elsewhere: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") or tag in ("script", "link", "img", "iframe"):
                self.from_elsewhere.append(f"{tag} {name}={value}")


def page(tmp_path: Path) -> str:
    kept = store(tmp_path / "run.json")
    kept.cells = [
        *ROUNDS,
        cell("iptables", 0, 1500, "l4"),
        cell("splice", 0, 9000, "l4"),
    ]
    variants = (*VARIANTS, "splice")
    found = figures(kept.cells, variants)
    made: str = module("_mesh_page").report(kept, plan(variants, ("http_c16",)), found)
    return made


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    checker = Checker()

    checker.feed(page(tmp_path))

    assert checker.from_elsewhere == []


def test_the_page_says_when_and_how_it_was_measured(tmp_path: Path) -> None:
    html = page(tmp_path)

    assert "Begun on 2026-11-26 by" in html
    assert "beewire bench mesh --rounds 2 --seconds 1 --congestion reno" in html


def test_every_picture_of_the_page_is_well_formed(tmp_path: Path) -> None:
    html = page(tmp_path)
    pictures = html.split("<svg ")[1:]

    for each in pictures:
        picture = "<svg " + each.partition("</svg>")[0] + "</svg>"
        assert ET.fromstring(picture).attrib["viewBox"]

    assert len(pictures) == 6  # four ratios, CPU time, latencies


@pytest.mark.parametrize(
    "said", ["a cpu", "Linux 6.18", "1.45", "&gt;= 1.3", "6.00", "same, with equal"]
)
def test_the_page_tells(tmp_path: Path, said: str) -> None:
    assert said in page(tmp_path)


@pytest.mark.parametrize("values", [[1.0], [0.05, 1.2], [0.9, 1.1, 1.4], [7.0, 30.0]])
@pytest.mark.parametrize("others", [[0.001, 500.0], [1.0]])
def test_an_axis_keeps_everything_inside(
    values: list[float], others: list[float]
) -> None:
    plots = module("_mesh_plots")
    scale = plots.Scale.around(values)

    for each in (*values, *others):
        assert plots.LEFT <= scale.at(each) <= plots.WIDTH - plots.RIGHT + 0.01
    assert not any(scale.beyond(each) for each in (*values, 1.0))
    assert scale.ticks()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--variants", "none,absent"], "there is no absent among variants"),
        (["--workloads", "http_c17"], "there is no http_c17 among workloads"),
        (["--seconds", "soon"], "'soon' is no number of seconds"),
        (["--seconds", "-1"], "'-1' is no number of seconds above 0"),
        (["--rounds", "0"], "'0' is not a whole number above 0"),
        (["--json", "/does/not/exist"], "/does/not/exist cannot be written"),
        (["--render"], "--render: of which run? --json FILE names it"),
        (["--render", "--json", "/tmp/absent"], "--render: there is no /tmp/absent"),
    ],
)
def test_mistakes_are_told(words: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "mesh.py"), *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
    )

    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_report_is_made_of_any_run_whatever_it_was_measured_with(
    tmp_path: Path,
) -> None:
    path, html = tmp_path / "run.json", tmp_path / "run.html"
    kept = store(path, kernel="4.4", seconds=7, variants="iptables,redirect,all")
    for each in ROUNDS:
        kept.put(each["round"], f"{each['workload']}", {usual(each["variant"]): each})
    kept.write({})
    before = path.read_bytes()

    command = [sys.executable, str(BENCHMARKS / "mesh.py"), "--render"]
    done = subprocess.run(
        [*command, "--json", str(path), "--html", str(html)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
    )

    assert done.returncode == 0, done.stderr
    assert "--seconds 7" in html.read_text()
    assert path.read_bytes() == before


@pytest.mark.mesh
@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_a_short_run_measures_every_cell_and_goes_on(tmp_path: Path) -> None:
    for program in ("envoy", "nginx", "wrk", "h2load", "iptables-legacy-restore"):
        if find(program) is None:
            pytest.skip(f"{program} is not installed")
    path, html = tmp_path / "run.json", tmp_path / "run.html"
    command = [sys.executable, str(BENCHMARKS / "mesh.py"), "--json", str(path)]
    command += ["--variants", "none,iptables,all", "--seconds", "1"]
    command += ["--workloads", "http_c16", "--html", str(html)]
    said = []
    for rounds in ("1", "2"):
        done = subprocess.run(
            [*command, "--rounds", rounds],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stderr)
    written = json.loads(path.read_text())

    assert len(written["cells"]) == 2 * 3
    assert all(each["requests"] and not each["errors"] for each in written["cells"])
    assert "round 1 of 2" not in said[1]
    assert written["figures"]["none.http_c16.requests_ratio"]["value"] > 0
    assert html.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("there", "passes", "expected"),
    [
        ({0, 1}, (True, True), [{0}, {1}, {0}, {1}]),
        ({2, 5, 7, 9}, (True, True), [{2}, {5}, {7}, {9}]),
        ({0, 1}, (True, False), [{0}, {1}, {0, 1}, {0}]),
        ({0, 1}, (False, False), [{0}, {0, 1}, {0, 1}, {1}]),
        ({3}, (True, True), [{3}] * 4),
    ],
)
def test_every_hop_goes_to_another_cpu(
    monkeypatch: pytest.MonkeyPatch,
    there: set[int],
    passes: tuple[bool, bool],
    expected: list[set[int]],
) -> None:
    placement = module("_mesh_placement")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: there)

    assert placement.cpus("spread", passes) == expected
    assert placement.cpus("free", passes) == [there] * 4
    assert {*map(len, placement.cpus("one", (True, True)))} == {1}


def test_workers_of_a_sidecar_have_cpus_by_turns(tmp_path: Path) -> None:
    placement = module("_mesh_placement")
    there = sorted(os.sched_getaffinity(0))
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n")
    done, named = threading.Event(), threading.Barrier(4)
    threads: dict[str, int] = {}

    def work(name: str) -> None:
        threads[name] = threading.get_native_id()
        Path(f"/proc/self/task/{threads[name]}/comm").write_text(name)
        named.wait()
        done.wait()

    names = ("wrk:worker_0", "wrk:worker_1", "wrk:worker_x")
    workers = [threading.Thread(target=work, args=(name,)) for name in names]
    for each in workers:
        each.start()
    try:
        named.wait()
        placement.spread_workers(tmp_path, there[-1])
        where = {name: os.sched_getaffinity(id_) for name, id_ in threads.items()}
    finally:
        done.set()
        for each in workers:
            each.join()

    assert where == {
        "wrk:worker_0": {there[-1]},
        "wrk:worker_1": {there[0]},
        "wrk:worker_x": {*there},
    }


def test_what_is_started_in_the_block_stays_on_its_cpus() -> None:
    placement = module("_mesh_placement")
    before = os.sched_getaffinity(0)
    one = {min(before)}

    with placement.starting_on(one):
        told = subprocess.run(["nproc"], capture_output=True, text=True, check=True)

    assert int(told.stdout) == 1
    assert os.sched_getaffinity(0) == before
