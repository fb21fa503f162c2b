"""What conntrack remembers of connections that rules have redirected."""

import pytest

from beewire.mesh.lab import Iptables, Lab
from beewire.mesh.shadow.conntrack import is_redirected, redirected
from tests.mesh.shadow.shadowing import RULES

ALIVE = (
    "ipv4     2 tcp      6 431999 ESTABLISHED src=10.77.1.2 dst=10.77.2.2 sport=40000"
    " dport=80 src=127.0.0.1 dst=10.77.1.2 sport=15001 dport=40000 [ASSURED] mark=0"
    " zone=0 use=2"
)
QUERY = (
    "ipv6     10 udp      17 29 src=fd77:1::2 dst=fd00::53 sport=4000 dport=53"
    " [UNREPLIED] src=::1 dst=fd77:1::2 sport=15053 dport=4000 mark=0 use=1"
)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (ALIVE, True),
        (ALIVE.replace("ESTABLISHED", "TIME_WAIT"), False),
        (ALIVE.replace("ESTABLISHED", "CLOSE"), False),
        (ALIVE.replace("ESTABLISHED", "CLOSE_WAIT"), True),
        (ALIVE.replace("127.0.0.1", "10.77.2.2").replace("15001", "80"), False),
        (QUERY, True),
        ("ipv4     2 icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0", False),
    ],
)
def test_an_entry_is_a_redirected_connection_or_not(
    entry: str, *, expected: bool
) -> None:
    assert is_redirected(entry) is expected


@pytest.mark.mesh
def test_redirected_connections_are_counted_until_they_end() -> None:
    with Lab() as lab, Iptables(RULES).install(lab.a):
        netns = lab.a.namespace.path
        if redirected(netns) is None:
            pytest.skip("this kernel shows no conntrack entries in /proc")
        with lab.a.proxy.listen("0.0.0.0", 15001) as listener:
            assert redirected(netns) == 0
            sock = lab.a.app.connect(lab.b.address, 80)
            accepted, _ = listener.accept()
            with sock, accepted:
                assert redirected(netns) == 1
                assert redirected(lab.b.namespace.path) == 0
        assert redirected(netns) == 0
