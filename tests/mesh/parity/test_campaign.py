"""Comparisons: what they count, and that they find what differs."""

import json
import subprocess
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

import pytest

from beewire.cli import mesh_parity
from beewire.mesh.config import PodConfig
from beewire.mesh.decision import Connection, Verdict, decider
from beewire.mesh.parity import judge as judge_module
from beewire.mesh.parity.campaign import Campaign
from beewire.mesh.parity.cells import Cells
from beewire.mesh.parity.configurations import INTERFACES
from beewire.mesh.parity.goldens import GROUPS, goldens, larger_goldens
from beewire.mesh.parity.judge import Judge, connection_of, packet_of
from beewire.mesh.parity.kernel import Kernel
from beewire.mesh.parity.oracle import Packet

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with Kernel() as loaded:
        yield loaded


GOLDENS = goldens() | larger_goldens()


@pytest.mark.kernel
@pytest.mark.parametrize("golden", GOLDENS)
def test_every_cell_of_a_golden_file_is_decided_alike(
    kernel: Kernel, golden: str
) -> None:
    judge = Judge(GOLDENS[golden], GROUPS)
    packets = [
        cell.first()
        for version in (4, 6)
        for outbound in (True, False)
        for cell in Cells(judge.oracle, version, outbound=outbound)
    ]

    judged = judge.compare([connection_of(p) for p in packets], kernel, INTERFACES)

    assert judged.unexplained == []


@pytest.mark.kernel
def test_configurations_at_random_are_decided_alike(kernel: Kernel) -> None:
    report = Campaign(20_000, 11, kernel).run()

    assert (report.compared, report.unexplained) == (20_000, 0)
    assert {delta.name for delta in report.documented} <= {
        "sidecar-by-cgroup",
        "invalid-packets",
    }


def test_each_rule_of_a_golden_file_is_met_or_says_why_not() -> None:
    report = Campaign(100_000, 1, None).run()

    assert {rule.golden for rule in report.rules} == set(goldens())
    assert all(rule.reachable != bool(rule.proof) for rule in report.rules)
    assert all(bool(rule.packets) == rule.reachable for rule in report.rules)


def test_istio_has_as_many_golden_files_as_are_compared() -> None:
    assert len(GOLDENS) == 27


def test_equal_seeds_compare_the_same() -> None:
    assert Campaign(2000, 5, None).run() == Campaign(2000, 5, None).run()


def test_a_sample_of_a_cell_goes_the_way_of_its_first_packet() -> None:
    random = Random(3)
    judge = Judge(goldens()["ip-range"], GROUPS)
    cells = list(Cells(judge.oracle, 4, outbound=True))

    for cell in random.sample(cells, 500):
        trail = judge.oracle.decide(cell.first()).trail

        assert judge.oracle.decide(cell.sample(random)).trail == trail


def test_a_connection_stands_for_its_packet() -> None:
    judge = Judge(goldens()["ip-range"], GROUPS)

    for outbound in (True, False):
        for cell in list(Cells(judge.oracle, 4, outbound=outbound))[::50]:
            packet = cell.first()

            assert packet_of(connection_of(packet)) == packet


def test_a_wrong_rule_is_a_difference_with_the_rule_on_each_side() -> None:
    config = PodConfig(outbound_ports_include=(80,))
    judge = Judge(config, {})
    wrong = Judge(replace(config, outbound_ports_include=(81,)), {})
    judge.oracle = wrong.oracle
    packet = Packet(True, 4, 6, 1, 1, 1, 80, uid=0, gid=0, interface="eth0")

    judged = judge.compare([connection_of(packet)], None, {})

    [difference] = judged.unexplained
    assert difference.rules == "passed: no rule matches"
    assert difference.function == "TO_OUTBOUND by OUT_INCLUDED_PORT"


def test_the_command_needs_no_privilege_without_the_kernel(beewire: Run) -> None:
    told = beewire("mesh", "parity", "--cases", "1000", "--without-kernel")

    assert told.returncode == 0
    assert told.stdout.splitlines()[-1].startswith("1000 compared, ")
    assert told.stdout.splitlines()[-1].endswith(" documented, 0 unexplained")


@pytest.mark.kernel
def test_the_command_speaks_json(beewire: Run) -> None:
    told = json.loads(beewire("mesh", "parity", "--cases", "1000", "--json").stdout)

    assert (told["compared"], told["unexplained"], told["by_programs"]) == (
        1000,
        0,
        True,
    )


def test_the_command_prints_each_difference_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As if the function forgot which ranges are captured."""

    def forgetful(config: PodConfig) -> Callable[[Connection], Verdict]:
        return decider(replace(config, outbound_ip_ranges_include=()))

    monkeypatch.setattr(judge_module, "decider", forgetful)
    parser = ArgumentParser()
    mesh_parity.add_arguments(parser)

    code = mesh_parity.run(parser.parse_args(["--cases=2000", "--without-kernel"]))

    lines = capsys.readouterr().out.splitlines()
    unexplained = int(lines[-1].split(", ")[2].removesuffix(" unexplained"))
    assert code == 1
    assert unexplained > 0
    assert sum(line.startswith("different: ") for line in lines) == unexplained
    assert sum(line.startswith("  rules     ") for line in lines) == unexplained
    assert any("to 15006 by nat -A ISTIO_IN_REDIRECT" in line for line in lines)
    assert any("  function  PASS by OUT_LOCAL" in line for line in lines)


def test_the_command_refuses_to_compare_nothing(beewire: Run) -> None:
    told = beewire("mesh", "parity", "--cases", "0")

    assert (told.returncode, told.stdout) == (2, "")
    assert "nothing to compare" in told.stderr
