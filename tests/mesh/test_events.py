"""Events as text and as JSON; no kernel is asked."""

import json
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.bpf import htons
from beewire.mesh.decision import Rule
from beewire.mesh.events import Event, Reason, protocol_name, text_of
from beewire.mesh.programs import events as programs
from beewire.mesh.programs.addresses import Address

PORTS = st.integers(1, 65535)


def words(text: str) -> Address:
    address = ip_address(text)
    mapped = b"\0" * 10 + b"\xff\xff" if address.version == 4 else b""
    return Address.from_bytes(mapped + address.packed)


def record(**changes: object) -> programs.Event:
    matter = programs.Matter(
        source=words("10.0.0.7"),
        target=words("10.96.0.10"),
        source_port=htons(40000),
        port=htons(53),
        protocol=17,
    )
    fields = {
        "pod": 4711,
        "when": 5,
        "flow": matter,
        "reason": Reason.POD_CLOSED,
        "withheld": 0,
        "process": 99,
        "uid": 1000,
        "comm": "dig",
    }
    for name in list(changes):
        if hasattr(matter, name):
            setattr(matter, name, changes.pop(name))
    return programs.Event(**{**fields, **changes})  # type: ignore[arg-type]


@given(st.ip_addresses(v=4), PORTS)
def test_ipv4_addresses_are_written_as_usual(address: IPv4Address, port: int) -> None:
    assert text_of(words(str(address)), port) == f"{address}:{port}"
    assert text_of(words(str(address))) == str(address)


@given(st.integers(1 << 48, (1 << 128) - 1).map(IPv6Address), PORTS)
def test_ipv6_addresses_are_written_in_brackets(
    address: IPv6Address, port: int
) -> None:
    assert text_of(words(str(address)), port) == f"[{address}]:{port}"
    assert text_of(words(str(address))) == str(address)


def test_a_refusal_reads_as_a_sentence() -> None:
    assert str(Event.of(record())) == (
        "refused udp 10.0.0.7:40000 -> 10.96.0.10:53 of dig[99]: the pod is closed: it has"
        " no configuration yet"
    )


def test_who_is_not_known_is_not_named() -> None:
    assert "[0]" not in str(Event.of(record(process=0, comm="")))


def test_the_rule_that_decided_is_named() -> None:
    event = Event.of(record(rule=Rule.OUT_DNS))

    assert str(event).endswith(" [OUT_DNS]")
    assert event.to_json()["rule"] == "OUT_DNS"


def test_a_rule_of_another_version_is_a_number() -> None:
    assert str(Event.of(record(rule=250))).endswith(" [250]")


def test_what_was_not_told_is_told_with_the_next() -> None:
    assert str(Event.of(record(withheld=7))).endswith(" (7 more before)")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence_and_is_written(reason: Reason) -> None:
    event = Event.of(record(reason=reason))

    assert str(event).split()[0] in ("refused", "unusual")
    assert json.loads(json.dumps(event.to_json()))["reason"] == reason.name


@pytest.mark.parametrize(("number", "name"), [(6, "tcp"), (58, "icmp6"), (253, "253")])
def test_protocols_have_their_names(number: int, name: str) -> None:
    assert protocol_name(number) == name
