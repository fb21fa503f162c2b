"""Real connections under real rules arrive where it was decided."""

import json
import subprocess
from collections.abc import Callable
from random import Random

import pytest

from beewire.mesh.config import ALL, PodConfig
from beewire.mesh.decision import TCP, Rule
from beewire.mesh.lab.tools import find
from beewire.mesh.proving import Real
from beewire.mesh.proving.attempts import Attempt, attempts
from beewire.mesh.proving.ground import Ground

Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [
    pytest.mark.mesh,
    pytest.mark.skipif(
        find("iptables-legacy-restore") is None or find("nft") is None,
        reason="iptables-legacy or nft is missing",
    ),
]
SIDECAR = PodConfig(inbound_ports_include=ALL, outbound_ip_ranges_include=ALL)
CALL = Attempt(False, TCP, 4, "10.96.0.10", 80, uid=1000, gid=1000)
VISIT = Attempt(True, TCP, 4, "own4", 8080, source="203.0.113.9")


def test_five_hundred_connections_arrive_where_it_was_decided() -> None:
    with Real(500, 3) as real:
        report = real.run()

    assert (report.differences, report.miscounts) == ([], [])
    assert report.rules[Rule.OUT_PROXY] > 0
    assert sum(report.compared.values()) == 1000
    assert report.compared["programs"] == 500
    assert {"pod 15001", "pod 15006", "world 80"} <= set(report.arrived)


@pytest.mark.parametrize("by_nft", [False, True])
def test_what_arrives_where_is_seen(*, by_nft: bool) -> None:
    made = [
        CALL,
        CALL._replace(uid=1337),
        CALL._replace(host="own4", uid=1337, port=9000),
        CALL._replace(host="127.0.0.1", port=443),
        VISIT,
        VISIT._replace(port=15008),
    ]

    with Ground() as ground:
        pod = ground.lab.a
        before = ground.perform(pod, made)
        ground.write_rules(SIDECAR, by_nft=by_nft)
        after = ground.perform(pod, made)

    assert before == [
        "world 80",
        "world 80",
        "pod 9000",
        "pod 443",
        "pod 8080",
        "pod 15008",
    ]
    assert after == [
        "pod 15001",
        "world 80",
        "pod 15006",
        "pod 443",
        "pod 15006",
        "pod 15008",
    ]


def test_attempts_are_the_same_for_equal_seeds() -> None:
    assert attempts(Random(1), SIDECAR, 50) == attempts(Random(1), SIDECAR, 50)


def test_the_command_makes_real_connections(beewire: Run) -> None:
    told = json.loads(beewire("mesh", "parity", "--real", "100", "--json").stdout)

    assert (told["compared"], told["unexplained"]) == (200, 0)
