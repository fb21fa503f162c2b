"""What rules do to packets: the oracle, on rules small enough to be read."""

from ipaddress import ip_address

import pytest

from beewire.errors import UsageError
from beewire.mesh.parity.oracle import Oracle, Outcome, Packet
from beewire.mesh.parity.oracle_iptables import tables

CALL = Packet(
    outbound=True,
    version=4,
    protocol=6,
    source=int(ip_address("10.0.0.7")),
    source_port=40000,
    destination=int(ip_address("10.96.0.10")),
    destination_port=80,
    uid=1000,
    gid=1000,
    interface="eth0",
)
ARRIVAL = CALL._replace(outbound=False, uid=None, gid=None)
TPROXY = """
*mangle
-N TAKE
-A PREROUTING -p tcp -m mark ! --mark 1338 -j RETURN
-A PREROUTING -p tcp -j TAKE
-A TAKE ! -d 127.0.0.1/32 -p tcp -j TPROXY --tproxy-mark 0x1/0x1 --on-port 15006
-A OUTPUT -o lo -m owner --uid-owner 1337 -j MARK --set-mark 1338
COMMIT
"""


def ask(text: str, packet: Packet = CALL) -> Outcome:
    return Oracle(tables(4, text, {"java": 202})).decide(packet)


def nat(*rules: str) -> str:
    return "\n".join(["*nat", "-N SIDE", *rules, "COMMIT"])


@pytest.mark.parametrize(
    "match",
    [
        "-p tcp",
        "-p 6",
        "! -p udp",
        "-s 10.0.0.0/8",
        "! -s 10.0.0.8",
        "-d 10.96.0.10",
        "! -d 10.96.0.11/32",
        "-o eth0",
        "-o eth+",
        "! -o lo",
        "-p tcp --dport 80",
        "-p tcp --dport 79:81",
        "-p tcp ! --dport 81",
        "-p tcp -m multiport --dports 22,80",
        "-p tcp -m multiport ! --dports 53,15008",
        "-p tcp --sport 40000",
        "-m owner --uid-owner 1000",
        "-m owner --uid-owner 999-1001",
        "-m owner ! --uid-owner 1337",
        "-m owner ! --gid-owner java -m owner ! --gid-owner 203",
        "-m mark --mark 0",
        "-m mark ! --mark 0x1/0x1",
        "-m conntrack --ctstate NEW,RELATED",
        '-m comment --comment "a word or two"',
    ],
)
def test_what_matches_is_redirected(match: str) -> None:
    assert ask(nat(f"-A OUTPUT {match} -p tcp -j REDIRECT --to-ports 15001")).port == (
        15001
    )


@pytest.mark.parametrize(
    "match",
    [
        "-p udp",
        "-s 10.0.0.8/32",
        "! -d 10.96.0.0/16",
        "-o lo",
        "-p tcp --dport 81",
        "-p tcp -m multiport ! --dports 80,15008",
        "-m owner --uid-owner 1337",
        "-m owner ! --gid-owner 1000",
        "-m owner --gid-owner java",
        "-m mark --mark 1",
        "-m connmark --mark 1337",
        "-m conntrack --ctstate RELATED,ESTABLISHED",
    ],
)
def test_what_does_not_match_goes_on(match: str) -> None:
    assert ask(nat(f"-A OUTPUT {match} -p tcp -j REDIRECT --to-ports 15001")) == (
        Outcome(None, dropped=False, trail=(), zone=0)
    )


def test_a_packet_without_socket_is_nobodys() -> None:
    nobody = CALL._replace(uid=None, gid=None)

    assert ask(nat("-A OUTPUT -m owner --uid-owner 0 -j SIDE"), nobody).trail == ()
    assert ask(nat("-A OUTPUT -m owner ! --uid-owner 0 -j SIDE"), nobody).trail == (0,)


def test_return_ends_a_chain_and_the_one_before_goes_on() -> None:
    text = nat(
        "-A SIDE -d 10.96.0.10 -j RETURN",
        "-A SIDE -p tcp -j REDIRECT --to-ports 1",
        "-A OUTPUT -j SIDE",
        "-A OUTPUT -p tcp -j REDIRECT --to-ports 2",
    )

    assert ask(text).port == 2
    assert ask(text, CALL._replace(destination=1)).port == 1


def test_rules_are_inserted_where_they_say() -> None:
    text = nat(
        "-A OUTPUT -p tcp -j REDIRECT --to-ports 1",
        "-I OUTPUT 1 -p tcp --dport 80 -j REDIRECT --to-ports 2",
        "-I OUTPUT -p tcp --dport 443 -j REDIRECT --to-ports 3",
        "-I OUTPUT 2 -p tcp --dport 443 -j REDIRECT --to-ports 4",
    )

    assert ask(text).port == 2
    assert ask(text, CALL._replace(destination_port=443)).port == 3


def test_nat_looks_at_the_beginning_of_a_connection_only() -> None:
    text = nat("-A OUTPUT -p tcp -j REDIRECT --to-ports 1")

    assert ask(text, CALL._replace(state="ESTABLISHED")).port is None


def test_nat_does_not_look_twice_at_a_packet_on_this_machine() -> None:
    text = nat("-A PREROUTING -p tcp -j REDIRECT --to-ports 1")

    assert ask(text, CALL._replace(interface="lo")).port is None
    assert ask(text, ARRIVAL._replace(interface="lo")).port is None
    assert ask(text, ARRIVAL).port == 1


def test_tproxy_takes_what_is_marked_on_its_way_out() -> None:
    own = CALL._replace(uid=1337, interface="lo")

    assert ask(TPROXY, own).port == 15006
    assert ask(TPROXY, own._replace(uid=1)).port is None
    assert ask(TPROXY, own._replace(interface="eth0")).port is None
    assert ask(TPROXY, ARRIVAL._replace(mark=1338)).port == 15006


def test_what_is_redirected_comes_in_at_localhost() -> None:
    text = TPROXY + nat("-A OUTPUT -p tcp -j REDIRECT --to-ports 15001")

    assert ask(text, CALL._replace(mark=1338)).port == 15001, "127.0.0.1 is excepted"
    assert ask(
        text.replace("127.0.0.1", "127.0.0.2"), CALL._replace(mark=1338)
    ).port == (15006)


def test_marks_are_kept_for_the_connection() -> None:
    text = """
*mangle
-A OUTPUT -p tcp -m connmark --mark 7 -j CONNMARK --restore-mark
-A OUTPUT -p tcp -m mark --mark 7 -j DROP
COMMIT
"""

    assert ask(text, CALL._replace(connmark=7)).dropped
    assert not ask(text).dropped


def test_invalid_packets_are_dropped() -> None:
    text = (
        "*mangle\n-N D\n-A D -j DROP\n-A PREROUTING -m conntrack --ctstate INVALID -j D"
    )

    assert ask(text, ARRIVAL._replace(state="INVALID")).dropped
    assert not ask(text, ARRIVAL).dropped


def test_the_zone_of_conntrack_is_known() -> None:
    text = "*raw\n-A OUTPUT -p udp --dport 53 -m owner --uid-owner 0 -j CT --zone 1"

    query = CALL._replace(protocol=17, destination_port=53, uid=0)

    assert ask(text, query).zone == 1


def test_families_have_rules_of_their_own() -> None:
    text = nat("-A OUTPUT -p tcp -j REDIRECT --to-ports 1")
    packet = CALL._replace(version=6, destination=int(ip_address("2001:db8::1")))

    assert ask(text, packet).port is None
    assert Oracle(tables(6, text)).decide(packet).port == 1


def test_what_iptables_save_prints_is_read() -> None:
    text = """
# Generated by iptables-save v1.8.9
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [3:180]
:ISTIO_OUTPUT - [0:0]
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
-A ISTIO_OUTPUT -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 15001
COMMIT
# Completed
*mangle
:OUTPUT ACCEPT [0:0]
-A OUTPUT -p tcp -m mark --mark 0x539 -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff
-A OUTPUT -o lo -j MARK --set-xmark 0x53a/0xffffffff
COMMIT
"""

    assert ask(text).port == 15001


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("-A OUTPUT -m u32 -j RETURN", "match 'u32' is not known here"),
        ("-A OUTPUT --dport 80 -j RETURN", "ports need -p tcp"),
        ("-A OUTPUT -d 300.1.1.1 -j RETURN", "300.1.1.1"),
        ("-A OUTPUT -j NOWHERE", "there is no chain 'NOWHERE' in table nat"),
        (
            "-A OUTPUT -j DNAT --to-destination 1.2.3.4",
            "target 'DNAT' is not known here",
        ),
        ("-A OUTPUT -m owner --gid-owner ftp -j RETURN", "a name without a number"),
        (
            "-A OUTPUT -p tcp -j REDIRECT --to-ports 1 --random",
            "option lacks its value",
        ),
        ("-A OUTPUT -p", "option lacks its value"),
        ("-A NOWHERE -j RETURN", "there is no chain 'NOWHERE'"),
        ("-X OUTPUT", "'-X' is no command"),
        ("-A OUTPUT -j CONNMARK --save-mark --nfmask 0xff", "--nfmask of some bits"),
    ],
)
def test_nothing_that_is_not_understood_is_skipped(rule: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as raised:
        tables(4, nat(rule))

    assert "rules, line 3" in str(raised.value)


def test_rules_before_a_table_are_refused() -> None:
    with pytest.raises(UsageError, match="no table"):
        tables(4, "-A OUTPUT -j RETURN")


def test_the_rule_that_decided_is_known() -> None:
    text = TPROXY + nat(
        "-A SIDE -d 10.96.0.10 -j RETURN",
        "-A SIDE -p tcp -j REDIRECT --to-ports 1",
        "-A OUTPUT -j SIDE",
    )
    oracle = Oracle(tables(4, text))

    def deciding(packet: Packet) -> str:
        rule = oracle.deciding(oracle.decide(packet))
        return rule.text if rule else ""

    assert deciding(CALL) == "-A SIDE -d 10.96.0.10 -j RETURN"
    assert deciding(CALL._replace(destination=1)).endswith("REDIRECT --to-ports 1")
    assert deciding(CALL._replace(interface="lo", uid=1337)).startswith("-A TAKE")
    assert deciding(ARRIVAL._replace(protocol=17)) == ""
