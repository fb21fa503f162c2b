"""Connections as people write them."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.errors import UsageError
from beewire.mesh.decision import TCP, UDP
from beewire.mesh.explain import Question, parse

ports = st.integers(1, 65535)
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).filter(
    lambda each: getattr(each, "ipv4_mapped", None) is None
)


@given(address=addresses, data=st.data(), protocol=st.sampled_from([TCP, UDP]))
def test_what_is_printed_is_read_again(
    address: IPv4Address | IPv6Address, data: st.DataObject, protocol: int
) -> None:
    source = data.draw(st.ip_addresses(v=address.version).filter(_is_plain))
    question = Question(protocol, source, data.draw(ports), address, data.draw(ports))

    assert parse(str(question).split()) == question


def _is_plain(address: IPv4Address | IPv6Address) -> bool:
    return getattr(address, "ipv4_mapped", None) is None


@pytest.mark.parametrize(
    "words",
    [
        ["tcp", "10.0.0.5:1234", "->", "10.96.0.10:80"],
        ["10.0.0.5:1234->10.96.0.10:80"],
        ["TCP 10.0.0.5:1234 → 10.96.0.10:80"],
        ["10.0.0.5:1234", "to", "[::ffff:10.96.0.10]:80"],
    ],
)
def test_one_connection_is_written_in_many_ways(words: list[str]) -> None:
    wanted = Question(TCP, ip_address("10.0.0.5"), 1234, ip_address("10.96.0.10"), 80)

    assert parse(words) == wanted


def test_a_destination_alone_is_dialled_by_the_pod() -> None:
    assert parse(["udp", "10.96.0.2:53"]) == Question(
        UDP, None, 0, ip_address("10.96.0.2"), 53
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tcp", "10.0.0.5:1", "-"], "took the > of the arrow"),
        (["10.0.0.5:1", "10.0.0.6:2"], "is no connection"),
        (["tcp"], "is no connection"),
        (["10.0.0.5:1 -> fd00::1"], "different IP versions"),
        (["10.0.0.5:1 -> 10.0.0.6"], "has no port"),
        (["10.0.0.5:1 -> 10.0.0.6:70000"], "at most 65535"),
        (["10.0.0.500:1"], "no address and port"),
        (["10.0.0.5:http"], "no address and port"),
    ],
)
def test_what_is_no_connection_is_told_how_to_write_one(
    words: list[str], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        parse(words)
