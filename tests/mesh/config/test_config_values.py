"""Texts to values and back, and what is said about a text that is none."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beewire.mesh.config import KNOBS, Knob, PodConfig
from beewire.mesh.config.values import (
    EXCLUDED_PORTS,
    EXCLUDED_RANGES,
    GROUP_IDS,
    GROUPS,
    IDENTITY,
    IDS,
    INTERFACES,
    LOOPBACK,
    MARK,
    MODE,
    PORT,
    PORTS,
    PORTS_OR_ALL,
    RANGES_OR_ALL,
    SERVERS,
    STATUS_PORT,
    SWITCH,
    TABLE,
    Invalid,
    Kind,
)
from tests.mesh.config.strategies import configs

FIELDS = [knob for knob in KNOBS if knob.name in PodConfig.__dataclass_fields__]


@settings(deadline=None)
@given(config=configs)
def test_every_value_reads_back_from_its_spelling(config: PodConfig) -> None:
    for knob in FIELDS:
        value = getattr(config, knob.name)

        assert knob.kind.read(knob.kind.write(value)) == value


@settings(deadline=None)
@given(
    knob=st.sampled_from(KNOBS),
    text=st.text(max_size=30) | st.text("0123456789.,:/*-+ a=", max_size=30),
)
def test_any_text_is_read_or_refused(knob: Knob, text: str) -> None:
    with suppress(Invalid):
        value = knob.kind.read(text)

        assert knob.kind.read(knob.kind.write(value)) == value


@pytest.mark.parametrize(
    ("kind", "text", "problem", "advice"),
    [
        (PORT, "70000", "'70000' is not a port", "from 1 to 65535"),
        (PORT, "0", "'0' is not a port", "from 1 to 65535"),
        (PORT, "9" * 5000, "99...", "from 1 to 65535"),
        (PORT, "\u0661", "is not a port", "from 1 to 65535"),
        (PORTS, "80-90", "is a range of ports", "list each"),
        (PORTS, "80,http", "'http' is not a port", "from 1"),
        (PORTS, "*", "is no port here", "list ports"),
        (PORTS_OR_ALL, "*,80", "'*' stands for all", "alone"),
        (EXCLUDED_PORTS, "*", "would exclude every port", "empty list of included"),
        (STATUS_PORT, "65536", "is not a port", "from 0"),
        (RANGES_OR_ALL, "10.0.0.1", "has no prefix length", "write 10.0.0.1/32"),
        (RANGES_OR_ALL, "fd00::1", "has no prefix length", "write fd00::1/128"),
        (RANGES_OR_ALL, "10.0.0.0/33", "is not a range of addresses", "10.0.0.0/8"),
        (RANGES_OR_ALL, "10.0.0.0/255.0.0.0", "is not a range", "10.0.0.0/8"),
        (RANGES_OR_ALL, "fe80::1%eth0/64", "is not a range", "fd00::/8"),
        (RANGES_OR_ALL, "example.com", "is not a range", "10.0.0.0/8"),
        (RANGES_OR_ALL, "::ffff:10.0.0.0/104", "never matches", "the IPv4 range"),
        (RANGES_OR_ALL, "127.0.0.1/4", "reaches far beyond", "write 112.0.0.0/4"),
        (EXCLUDED_RANGES, "*", "would exclude every address", "empty list"),
        (IDS, "istio-proxy", "is a name", "number"),
        (IDS, "4294967295", "is not the number of a user", "4294967294"),
        (MODE, "tproxy", "no mode of interception", "write TPROXY"),
        (MODE, "BOTH", "no mode of interception", "REDIRECT, TPROXY or NONE"),
        (MARK, "0", "is not a mark", "from 1"),
        (MARK, "1338", "the sidecar's calls to its own pod", "another mark"),
        (TABLE, "0", "is not the number of a routing table", "from 1"),
        (INTERFACES, "eth+", "a pattern of iptables", "each interface"),
        (INTERFACES, "a-name-too-long-for-linux", "no name of an", "15 letters"),
        (INTERFACES, "eth0;drop", "no name of an", "15 letters"),
        (INTERFACES, "-j", "no name of an", "15 letters"),
        (GROUPS, "*", "would exclude every group", "list groups"),
        (GROUPS, "two words", "'two words' is no group", "such as java"),
        (GROUP_IDS, "java", "names no group's number", "java=1001"),
        (SWITCH, "yes", "neither true nor false", "write true or false"),
        (SERVERS, "dns.example", "no address of a resolver", "10.96.0.10"),
        (LOOPBACK, "10.0.0.0/8", "no range inside 127.0.0.0/8", "127.0.0.1/32"),
        (LOOPBACK, "127.0.0.1/4", "no range inside 127.0.0.0/8", "127.0.0.1/32"),
        (IDENTITY, "uid", "no way to know the sidecar", "cgroup, or owner"),
    ],
)
def test_a_wrong_text_is_told_with_what_to_write(
    kind: Kind, text: str, problem: str, advice: str
) -> None:
    with pytest.raises(Invalid) as caught:
        kind.read(text)

    assert problem in caught.value.problem
    assert advice in caught.value.advice


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True"])
def test_switches_are_spelled_as_go_spells_them(text: str) -> None:
    assert SWITCH.read(text) is True
