"""Rules that no packet meets: the proof names those that take their packets."""

import re
from random import Random

import pytest

from beewire.mesh.parity.cells import Cell, Cells
from beewire.mesh.parity.configurations import random_config
from beewire.mesh.parity.goldens import GROUPS, goldens, larger_goldens
from beewire.mesh.parity.judge import Notation, iptables, nft
from beewire.mesh.parity.oracle import Oracle, Packet, Rule, Walk
from beewire.mesh.parity.oracle_iptables import tables
from beewire.mesh.parity.unreached import Unreached

SMALL = 2000  # cells: more take seconds, and have the same rules
SOME = (
    "basic-exclude-nic",
    "drop-invalid",
    "inbound-ports-wildcard-tproxy",
    "ipnets-with-kube-virt-interfaces",
    "ipv6-dns-outbound-owner-groups-exclude",
    "ipv6-dns-uid-gid",
    "ipv6-ipnets",
    "outbound-ports-include",
)


def kinds_of(oracle: Oracle) -> list[Cells]:
    return [
        Cells(oracle, version, outbound=outbound)
        for version in sorted({rule.family for rule in oracle.rules})
        for outbound in (True, False)
    ]


def cells_of(oracle: Oracle) -> list[Cell]:
    return [cell for kind in kinds_of(oracle) for cell in kind]


def proven(oracle: Oracle, cells: list[Cell]) -> dict[int, str]:
    packets = [cell.first() for cell in cells]
    met = {number for packet in packets for number in oracle.decide(packet).trail}
    unmet = [number for number in range(len(oracle.rules)) if number not in met]
    return Unreached(oracle, packets).proofs(unmet)


def named(proof: str) -> list[int]:
    return [int(number) - 1 for number in re.findall(r"\d+", proof)]


def holds(rule: Rule, packet: Packet) -> bool:
    walk = Walk(packet)
    return all(match.test(walk) for match in rule.matches)


def small(notation: Notation, seed: int) -> Oracle:
    random = Random(seed)
    while True:
        oracle = notation(random_config(random), GROUPS)
        if oracle.rules and sum(map(len, kinds_of(oracle))) <= SMALL:
            return oracle


EVERY = goldens() | larger_goldens()


def text(*rules: str) -> Oracle:
    return Oracle(tables(4, "\n".join(["* nat", *rules, "COMMIT", ""]), {}))


@pytest.mark.parametrize("golden", SOME)
def test_each_rule_of_a_golden_file_is_met_or_proven_unreachable(golden: str) -> None:
    oracle = iptables(EVERY[golden], GROUPS)

    assert all(proven(oracle, cells_of(oracle)).values())


@pytest.mark.parametrize("golden", SOME)
def test_rules_that_take_all_of_a_rule_match_each_of_its_packets(golden: str) -> None:
    oracle, random = iptables(EVERY[golden], GROUPS), Random(3)
    cells = cells_of(oracle)

    for number, proof in proven(oracle, cells).items():
        if "all of it" in proof:
            takers = [oracle.rules[each] for each in named(proof)]
            its = [
                packet
                for cell in cells
                for packet in (cell.first(), cell.sample(random))
                if packet.state == "NEW"
                and packet.outbound
                and packet.version == oracle.rules[number].family
                and holds(oracle.rules[number], packet)
            ]

            assert its
            assert all(any(holds(rule, packet) for rule in takers) for packet in its)


@pytest.mark.parametrize("notation", [iptables, nft])
@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_configuration_is_no_rule_is_just_missing(
    notation: Notation, seed: int
) -> None:
    oracle = small(notation, seed)

    assert all(proven(oracle, cells_of(oracle)).values())


def test_one_rule_that_takes_all() -> None:
    oracle = text(
        "-A OUTPUT -p tcp -j RETURN",
        "-A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 15001",
    )

    assert proven(oracle, cells_of(oracle)) == {1: "rule 1 takes all of it"}


def test_the_jump_is_named_for_what_its_chain_takes() -> None:
    oracle = text(
        "-N ISTIO_REDIRECT",
        "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
        "-A OUTPUT -p tcp -j ISTIO_REDIRECT",
        "-A OUTPUT -p tcp --dport 80 -j RETURN",
    )

    assert proven(oracle, cells_of(oracle)) == {2: "rule 2 takes all of it"}


def test_a_chain_that_nothing_leads_to() -> None:
    oracle = text("-N ISTIO_INBOUND", "-A ISTIO_INBOUND -p tcp -j RETURN")

    proofs = Unreached(oracle, []).proofs([0])

    assert proofs == {0: "no rule jumps to ISTIO_INBOUND"}


def test_a_chain_that_only_an_unreachable_rule_leads_to() -> None:
    oracle = text(
        "-N ISTIO_REDIRECT",
        "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
        "-A OUTPUT -j RETURN",
        "-A OUTPUT -p tcp -j ISTIO_REDIRECT",
    )

    assert proven(oracle, cells_of(oracle)) == {
        0: "only rule 3, unreachable, leads to ISTIO_REDIRECT",
        2: "rule 2 takes all of it",
    }


def test_conditions_that_exclude_one_another() -> None:
    oracle = text("-A OUTPUT -p tcp -p udp -j RETURN")

    assert proven(oracle, cells_of(oracle)) == {0: "no packet has all that it asks for"}


def test_packets_that_are_not_led_to_the_chain_of_a_rule() -> None:
    oracle = text(
        "-N ISTIO_OUTPUT",
        "-A ISTIO_OUTPUT -p udp -j RETURN",
        "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
    )

    assert proven(oracle, cells_of(oracle)) == {
        0: "no packet that it speaks of is led to its chain"
    }
