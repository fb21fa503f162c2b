"""Connections and configurations as people read them."""

from ipaddress import IPv4Network, ip_address

from beewire.mesh.config import ALL, PodConfig
from beewire.mesh.decision import UDP, Connection, Direction, State
from beewire.mesh.parity.telling import told_config, told_connection

CALL = Connection(
    Direction.OUTBOUND,
    6,
    ip_address("10.0.0.7"),
    40000,
    ip_address("10.96.0.10"),
    80,
    1000,
    1000,
    interface="eth0",
)


def test_a_connection_is_one_line() -> None:
    assert told_connection(CALL) == (
        "outbound tcp 10.0.0.7:40000 -> 10.96.0.10:80 by eth0, uid 1000, gid 1000"
    )


def test_what_is_unusual_about_a_connection_is_said() -> None:
    query = CALL._replace(
        protocol=UDP,
        destination=ip_address("fd00::a"),
        destination_port=53,
        uid=0xFFFFFFFF,
        in_proxy=True,
        local=True,
        mark=1337,
        state=State.ESTABLISHED,
    )

    assert told_connection(query) == (
        "outbound udp 10.0.0.7:40000 -> [fd00::a]:53 by lo, no uid, gid 1000,"
        " in the sidecar's cgroup, mark 1337, ESTABLISHED"
    )


def test_an_arriving_connection_has_no_owner() -> None:
    arrival = CALL._replace(direction=Direction.INBOUND, protocol=132, interface="")

    assert told_connection(arrival) == (
        "inbound protocol 132 10.0.0.7:40000 -> 10.96.0.10:80"
    )


def test_of_a_configuration_what_is_not_usual_is_told() -> None:
    config = PodConfig(
        proxy_uid=(),
        inbound_ports_include=ALL,
        outbound_ip_ranges_include=(
            IPv4Network("10.0.0.0/8"),
            IPv4Network("9.9.9.9/32"),
        ),
    )

    assert told_config(config) == (
        "proxy_uid=none inbound_ports_include=*"
        " outbound_ip_ranges_include=10.0.0.0/8,9.9.9.9/32"
    )
