"""Rules in nft's notation: read, and compared with iptables' text."""

from random import Random

import pytest

from beewire.errors import UsageError
from beewire.mesh.parity.campaign import Campaign
from beewire.mesh.parity.cells import Cells
from beewire.mesh.parity.goldens import GROUPS, goldens
from beewire.mesh.parity.judge import iptables, nft
from beewire.mesh.parity.oracle import Oracle, Outcome, Packet
from beewire.mesh.parity.oracle_nft import tables

CALL = Packet(True, 4, 6, 0x0A000007, 40000, 0x0A60000A, 80, 1000, 1000, "eth0")
HEAD = """
add table inet t
flush table inet t
add chain inet t output { type nat hook output priority -100 ; }
add chain inet t side
add table inet m
add chain inet m prerouting { type filter hook prerouting priority -150 ; }
add chain inet m output { type route hook output priority -150 ; }
"""


def ask(*rules: str, packet: Packet = CALL) -> Outcome:
    text = HEAD + "\n".join(f"add rule inet {rule}" for rule in rules)
    return Oracle(tables(text, {"java": 202})).decide(packet)


@pytest.mark.parametrize(
    "match",
    [
        "meta l4proto tcp",
        "tcp dport 80",
        "tcp dport { 22, 80 }",
        "tcp dport != { 53, 15008 }",
        "tcp sport 40000",
        "ip daddr 10.96.0.0/12",
        "ip saddr != 127.0.0.6/32",
        'oifname "eth0"',
        "oifname eth*",
        "skuid 1000",
        "meta skuid 999-1001",
        "skgid != java",
        "mark 0",
        "meta mark != 1337",
        "ct state new",
    ],
)
def test_what_matches_is_redirected(match: str) -> None:
    assert ask(f"t output {match} counter redirect to :15001").port == 15001


@pytest.mark.parametrize(
    "match",
    [
        "meta l4proto udp",
        "udp dport 80",
        "ip6 daddr ::/0",
        "iifname lo",
        "skgid 1",
        "ct state related,established",
        "ct mark 7",
    ],
)
def test_what_does_not_match_goes_on(match: str) -> None:
    assert ask(f"t output {match} counter redirect to :15001").trail == ()


def test_a_packet_without_socket_meets_no_condition_on_owners() -> None:
    nobody = CALL._replace(uid=None, gid=None)

    assert ask("t output skuid != 1 counter redirect to :1", packet=nobody).port is None
    assert ask("t output skgid != 1 counter redirect to :1", packet=nobody).port is None


def test_statements_follow_one_another() -> None:
    marked = "m output counter meta mark set 7"
    taken = "m prerouting mark 7 tproxy ip to :15006 meta mark set 1 counter accept"

    assert ask(marked, taken, packet=CALL._replace(interface="lo")).port == 15006


def test_rules_are_inserted_by_index() -> None:
    text = (
        HEAD
        + """
add rule inet t output redirect to :1
insert rule inet t output index 0 tcp dport 80 redirect to :2
"""
    )

    assert Oracle(tables(text)).decide(CALL).port == 2


def test_chains_return() -> None:
    outcome = ask(
        "t side ip daddr 10.96.0.10/32 counter return",
        "t side redirect to :1",
        "t output jump side",
        "t output redirect to :2",
    )

    assert outcome.port == 2


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("t output fib daddr type local accept", "'fib' is not known here"),
        ("t output jump nowhere", "there is no chain 'nowhere'"),
        ("t nowhere accept", "nowhere"),
        ("t output redirect to 1.2.3.4", "go to :PORT"),
        ("t output tcp dport", "it ends too early"),
        ("t output ct helper set ftp", "ct helper is not known here"),
        ("t output meta mark set ct bytes", "only its mark"),
    ],
)
def test_nothing_that_is_not_understood_is_skipped(rule: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        ask(rule)


@pytest.mark.parametrize("line", ["add table ip t", "delete chain inet t c"])
def test_other_commands_are_refused(line: str) -> None:
    with pytest.raises(UsageError):
        tables(f"{HEAD}{line} x {{ }}".replace("add table ip", "add chain ip"))


@pytest.mark.parametrize("golden", goldens())
def test_both_notations_decide_alike(golden: str) -> None:
    config = goldens()[golden]
    random = Random(8)
    oracles = iptables(config, GROUPS), nft(config, GROUPS)
    packets = [
        Cells(oracles[0], version, outbound=outbound).sample(random)
        for version in ((4, 6) if config.enable_ipv6 else (4,))
        for outbound in (True, False)
        for _ in range(400)
    ]
    owned = [packet for packet in packets if None not in (packet.uid, packet.gid)]
    owned += [packet for packet in packets if not packet.outbound]

    decided = [[oracle.decide(packet)[:2] for packet in owned] for oracle in oracles]

    assert decided[0] == decided[1]


def test_the_function_decides_as_nfts_rules_do() -> None:
    report = Campaign(5000, 4, None, nft).run()

    assert (report.compared, report.differences) == (5000, [])
