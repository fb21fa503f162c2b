"""Istio's rules in a namespace, passed over and given back, by both packet filters."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from beewire.errors import MeshError
from beewire.mesh.config import PodConfig
from beewire.mesh.lab import Lab
from beewire.mesh.lab.pods import Pod
from beewire.mesh.lab.tools import find as program
from beewire.mesh.lab.tools import require
from beewire.mesh.parity import nft_input, restore_inputs
from beewire.mesh.shadow import rules
from beewire.mesh.shadow.present import has_rules
from tests.mesh.shadow.shadowing import RULES

pytestmark = pytest.mark.mesh

OTHERS = "*nat\n-A OUTPUT -p tcp --dport 81 -j REDIRECT --to-ports 82\nCOMMIT\n"


def load(pod: Pod, kind: str, config: PodConfig = RULES) -> None:
    if kind == "native":
        pod.app.run([require("nft"), "-f", "-"], text=nft_input(config))
        return
    for table in restore_inputs(config):
        name = f"{'iptables' if table.family == 4 else 'ip6tables'}-{kind}-restore"
        path = program(name)
        assert path is not None
        try:
            pod.app.run([str(path), "--noflush"], text=table.text)
        except MeshError as error:
            if kind == "nft" and "Protocol not supported" in str(error):
                pytest.skip("this kernel has no nf_tables")
            raise


@pytest.fixture(params=["legacy", "nft", "native"])
def pod(request: pytest.FixtureRequest) -> Iterator[Pod]:
    """Pod A of a lab, with the rules that Istio writes."""
    with Lab() as lab:
        load(lab.a, request.param)
        yield lab.a


def test_a_namespace_without_rules_has_none() -> None:
    with Lab() as lab:
        assert rules.find(lab.a.namespace.path) == ()


def test_rules_are_found_in_every_table(pod: Pod) -> None:
    tables = rules.find(pod.namespace.path)

    assert {table.name.removeprefix("istio-proxy-") for table in tables} == {
        "nat",
        "raw",
    }
    assert not rules.are_passed_over(tables)


def test_every_chain_that_redirects_is_passed_over(pod: Pod) -> None:
    rules.pass_over(pod.namespace.path)

    tables = rules.find(pod.namespace.path)
    assert rules.are_passed_over(tables)
    passed = {name.lower().replace("_", "-") for t in tables for name in t.passed}
    assert passed == {"istio-in-redirect", "istio-output-dns", "istio-redirect"}


def test_none_of_the_rules_goes(pod: Pod) -> None:
    before = rules.find(pod.namespace.path)

    rules.pass_over(pod.namespace.path)

    after = rules.find(pod.namespace.path)
    assert [table.text for table in after] == [table.text for table in before]
    assert [table.size for table in after] == [table.size for table in before]


def test_given_back_they_are_as_they_were(pod: Pod) -> None:
    before = rules.find(pod.namespace.path)

    rules.pass_over(pod.namespace.path)
    rules.give_back(pod.namespace.path)

    assert rules.find(pod.namespace.path) == before


def test_doing_either_twice_does_nothing_more(pod: Pod) -> None:
    before = rules.find(pod.namespace.path)
    rules.pass_over(pod.namespace.path)
    passed = rules.find(pod.namespace.path)

    rules.pass_over(pod.namespace.path)
    assert rules.find(pod.namespace.path) == passed

    rules.give_back(pod.namespace.path)
    rules.give_back(pod.namespace.path)
    assert rules.find(pod.namespace.path) == before


def test_all_of_them_are_removed(pod: Pod) -> None:
    netns = pod.namespace.path
    number = sum(table.size for table in rules.find(netns))
    rules.pass_over(netns)

    assert rules.remove(netns, RULES) == number
    assert rules.find(netns) == ()
    assert rules.remove(netns, RULES) == 0


@pytest.mark.parametrize("kind", ["legacy", "nft"])
def test_rules_that_jump_nowhere_are_removed_and_those_of_others_stay(
    kind: str,
) -> None:
    config = replace(
        RULES,
        exclude_interfaces=("eth9",),
        outbound_ip_ranges_include=(ip_network("10.0.0.0/8"),),
        reroute_virtual_interfaces=("net1",),
        drop_invalid=True,
    )
    with Lab() as lab:
        netns = lab.a.namespace.path
        load(lab.a, kind, config)
        lab.a.app.run([require(f"iptables-{kind}-restore"), "--noflush"], text=OTHERS)

        rules.remove(netns, config)

        saved = lab.a.app.run([require(f"iptables-{kind}-save")])
        assert [line for line in saved.splitlines() if line.startswith("-A")] == [
            "-A OUTPUT -p tcp -m tcp --dport 81 -j REDIRECT --to-ports 82"
        ]
        assert "ISTIO_" not in saved + lab.a.app.run(
            [require(f"ip6tables-{kind}-save")]
        )


def test_whether_they_act_is_asked_of_the_kernel(pod: Pod) -> None:
    netns = pod.namespace.path

    assert has_rules(netns)
    assert rules.act(netns)
    rules.pass_over(netns)
    assert not rules.act(netns)
    rules.give_back(netns)
    assert rules.act(netns)


def test_in_a_namespace_without_rules_none_act() -> None:
    with Lab() as lab:
        assert not has_rules(lab.a.namespace.path)
        assert not rules.act(lab.a.namespace.path)


def test_rules_of_others_are_left_alone() -> None:
    with Lab() as lab:
        load(lab.a, "legacy")
        restore = program("iptables-legacy-restore")
        lab.a.app.run([str(restore), "--noflush", "-w", "10"], text=OTHERS)

        rules.pass_over(lab.a.namespace.path)

        nat = next(t for t in rules.find(lab.a.namespace.path) if t.name == "nat")
        assert "OUTPUT" not in nat.passed


def test_without_a_namespace_it_says_which() -> None:
    with pytest.raises(MeshError, match="/run/netns/bw-none cannot be opened"):
        rules.find(Path("/run/netns/bw-none"))
