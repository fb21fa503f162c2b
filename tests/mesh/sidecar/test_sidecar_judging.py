"""What is made of what a sidecar says: golden files from real Envoys, and properties."""

import copy
import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beewire.mesh.sidecar import (
    Dump,
    Mtls,
    Reason,
    UnreadableError,
    inbound,
    known_ports,
    outbound,
    parse,
    upstream,
)
from tests.mesh.sidecar.capture import DUMP, JUDGED, judged
from tests.mesh.sidecar.variants import INBOUND, B

OWN = ip_address(B)
WHOLE = json.loads(DUMP.read_text())
L4 = 9000  # a port of tcp_proxy alone


def changed(change: Any) -> Dump:
    """The golden dump, after `change` has changed its listeners by name."""
    whole = copy.deepcopy(WHOLE)
    for part in whole["configs"]:
        for each in part.get("dynamic_listeners", []):
            change(each["active_state"]["listener"])
    return parse(json.dumps(whole).encode())


def chain_of(listener: dict[str, Any], port: int) -> list[dict[str, Any]]:
    """The filter chains of a port of the inbound listener."""
    if listener["name"] != "virtualInbound":
        return []
    return [
        each
        for each in listener["filter_chains"]
        if each.get("filter_chain_match", {}).get("destination_port") == port
    ]


def test_a_real_envoys_ports_and_destinations_are_judged_as_ever() -> None:
    assert judged(parse(DUMP.read_bytes())) == JUDGED.read_text()


def test_ports_with_chains_of_their_own_are_known() -> None:
    assert known_ports(parse(DUMP.read_bytes())) >= set(INBOUND) - {9999}


def test_plaintext_to_a_strict_port_is_refused_as_mutual_tls() -> None:
    found = inbound(parse(DUMP.read_bytes()), OWN, 9001)

    assert found.mtls is Mtls.STRICT
    assert [each.reason for each in found.refusals] == [Reason.MTLS]


def test_a_permissive_port_takes_plaintext_past_its_sidecar() -> None:
    found = inbound(parse(DUMP.read_bytes()), OWN, 9002)

    assert found.mtls is Mtls.PERMISSIVE
    assert found.is_l4


@pytest.mark.parametrize(
    "field", ["use_proxy_proto", "on_demand_configuration", "of_tomorrow"]
)
def test_a_field_of_a_chain_that_is_not_known_refuses_the_port(field: str) -> None:
    def change(listener: dict[str, Any]) -> None:
        for each in chain_of(listener, L4):
            each[field] = {}

    assert not inbound(changed(change), OWN, L4).is_l4


@pytest.mark.parametrize("field", ["of_tomorrow", "access_log", "filter_chain_matcher"])
def test_a_field_of_the_listener_that_is_not_known_refuses_every_port(
    field: str,
) -> None:
    def change(listener: dict[str, Any]) -> None:
        listener[field] = [{}]

    dump = changed(change)

    assert not any(inbound(dump, OWN, port).is_l4 for port in INBOUND)
    assert not outbound(dump, OWN, L4).is_l4


def test_a_listener_filter_that_is_not_known_refuses_every_port() -> None:
    def change(listener: dict[str, Any]) -> None:
        listener.setdefault("listener_filters", []).append({"name": "lab.unknown"})

    dump = changed(change)

    assert not any(inbound(dump, OWN, port).is_l4 for port in INBOUND)


def test_a_listener_that_warms_up_or_drains_is_not_in_force() -> None:
    whole = copy.deepcopy(WHOLE)
    for part in whole["configs"]:
        for each in part.get("dynamic_listeners", []):
            each["warming_state"] = each.pop("active_state")

    found = inbound(parse(json.dumps(whole).encode()), OWN, L4)

    assert [each.reason for each in found.refusals] == [Reason.UNREADABLE]


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"{}", b'{"configs": 1}', b'{"configs": [1]}', b"\xff"],
)
def test_what_is_no_configuration_is_unreadable(text: bytes) -> None:
    with pytest.raises(UnreadableError):
        parse(text)


@settings(deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=3), st.integers(0, 3))
def test_a_filter_that_is_not_known_refuses_its_port_wherever_it_stands(
    names: list[str], at: int
) -> None:
    def change(listener: dict[str, Any]) -> None:
        for each in chain_of(listener, L4):
            each["filters"][at:at] = [{"name": name} for name in names]

    assert not inbound(changed(change), OWN, L4).is_l4


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value in a JSON value."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [at, *(path for key, one in items for path in paths(one, (*at, key)))]


PATHS = [path for path in paths(WHOLE) if path]


@settings(deadline=None)
@given(st.sampled_from(PATHS), JSON)
def test_a_broken_dump_is_unreadable_or_judged_and_nothing_else(
    path: tuple[Any, ...], value: Any
) -> None:
    whole = copy.deepcopy(WHOLE)
    place = whole
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    try:
        dump = parse(json.dumps(whole).encode())
    except UnreadableError:
        return

    for port in (L4, 9002, 9016):
        assert inbound(dump, OWN, port).port == port
        assert outbound(dump, OWN, port).port == port
        upstream(dump, OWN, port)
