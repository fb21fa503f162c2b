"""Which connections need no proxy: pairs of pods, judged by what their sidecars say."""

import copy
import json
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from beewire.mesh.sidecar import Dump, Mtls, Reason, parse
from beewire.mesh.straight import Judged, Member, Plan, Straight, plan
from tests.mesh.sidecar.capture import DUMP
from tests.mesh.sidecar.variants import B

WHOLE = json.loads(DUMP.read_text())
SAID = parse(DUMP.read_bytes())
BOTH = Straight.SHORTCUT | Straight.SPLICE
PERMISSIVE = 9002
RAW = 9000

A = Member("a", 1, (ip_address("10.77.1.2"),), BOTH, SAID)
SERVER = Member("b", 2, (ip_address(B),), BOTH, SAID, ports=frozenset({9999}))


def to(made: Plan, kind: Straight, port: int, address: str = B) -> Judged:
    """What is judged of A's connections to a port of B."""
    (found,) = (
        each
        for each in made.judged
        if (each.kind, each.client.name, each.port) == (kind, "a", port)
        and each.address == ip_address(address)
    )
    return found


def without_tls() -> Dump:
    """The golden dump without the clusters that would reach B's port by TLS."""
    return replace(
        SAID,
        clusters={
            name: each
            for name, each in SAID.clusters.items()
            if name not in ("matched", "introduced")
        },
    )


PLAIN = A._replace(dump=without_tls())


def test_an_l4_port_has_both_ways() -> None:
    made = plan([PLAIN, SERVER])

    for kind in Straight:
        found = to(made, kind, RAW)
        assert found.is_open
        assert found.leads_to == (ip_address(B), RAW)


def test_a_client_that_may_speak_mutual_tls_has_no_shortcut() -> None:
    found = to(plan([A, SERVER]), Straight.SHORTCUT, RAW)

    assert {each.reason for each in found.refusals} == {Reason.MTLS, Reason.PROTOCOL}


def test_a_permissive_port_is_open_to_those_who_send_plaintext() -> None:
    found = to(plan([PLAIN, SERVER]), Straight.SHORTCUT, PERMISSIVE)

    assert found.is_open
    assert found.mtls is Mtls.PERMISSIVE


def test_a_service_whose_one_endpoint_is_the_pod_is_spliced() -> None:
    found = to(plan([PLAIN, SERVER]), Straight.SPLICE, 81, "10.96.0.10")

    assert found.leads_to == (ip_address(B), RAW)


def test_a_service_of_another_pod_is_none_of_these() -> None:
    elsewhere = SERVER._replace(addresses=(ip_address("10.77.2.9"),))

    assert not any(each.port == 81 for each in plan([PLAIN, elsewhere]).judged)


def test_the_ports_of_the_sidecar_itself_lead_nowhere() -> None:
    listening = SERVER._replace(ports=frozenset({15001, 15006, 15021, 15090, 9999}))
    ports = {each.port for each in plan([PLAIN, listening]).judged}

    assert 9999 in ports
    assert not ports & {15001, 15006, 15021, 15090}


def test_what_a_sidecar_does_not_say_refuses_all_of_its_pod() -> None:
    silent = SERVER._replace(dump=None, problem="it does not answer")
    made = plan([PLAIN, silent])

    assert {each.address for each in made.judged} == {None}
    assert "it does not answer" in str(made.judged[0].refusals[0])


def test_open_connections_are_judged_whatever_their_pods_say_by_now() -> None:
    shy = SERVER._replace(kinds=Straight(0))

    assert not plan([PLAIN, shy]).judged
    made = plan([PLAIN, shy], [(Straight.SPLICE, PLAIN.netns, shy.netns)])
    found = to(made, Straight.SPLICE, RAW)
    assert not found.refusals
    assert not found.is_open


KINDS = st.sampled_from([Straight(n) for n in range(4)])


@settings(deadline=None)
@given(KINDS, KINDS, st.booleans(), st.booleans())
def test_a_way_is_open_only_if_both_say_yes_and_both_are_read(
    client: Straight, server: Straight, one: bool, other: bool
) -> None:
    made = plan(
        [
            PLAIN._replace(kinds=client, dump=PLAIN.dump if one else None),
            SERVER._replace(kinds=server, dump=SERVER.dump if other else None),
        ]
    )

    for each in made.judged:
        assert each.kind & client & server
        assert each.is_open == (each.leads_to is not None)
        assert each.is_open or each.refusals
        assert not each.is_open or (one and other)


ISTIO = [
    {
        "name": "istio.metadata_exchange",
        "typed_config": {
            "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
            "type_url": "type.googleapis.com/"
            "envoy.tcp.metadataexchange.config.MetadataExchange",
            "value": {"protocol": "istio-peer-exchange"},
        },
    },
    {
        "name": "istio.stats",
        "typed_config": {"@type": "type.googleapis.com/stats.PluginConfig"},
    },
]


def with_filters(filters: list[dict[str, Any]]) -> Dump:
    """The golden dump with more filters before the tcp_proxy of the L4 port."""
    whole = copy.deepcopy(WHOLE)
    for part in whole["configs"]:
        for each in part.get("dynamic_listeners", []):
            for chain in each["active_state"]["listener"]["filter_chains"]:
                if chain.get("name") == f"0.0.0.0_{RAW}":
                    chain["filters"][:0] = filters
    return parse(json.dumps(whole).encode())


def test_istios_telemetry_needs_no_proxy() -> None:
    telling = SERVER._replace(dump=with_filters(ISTIO))

    assert to(plan([PLAIN, telling]), Straight.SPLICE, RAW).is_open


def test_another_filter_by_the_name_of_istios_does() -> None:
    lua = {"name": "istio.stats", "typed_config": {"@type": "type.googleapis.com/lua"}}
    lying = SERVER._replace(dump=with_filters([lua]))

    found = to(plan([PLAIN, lying]), Straight.SPLICE, RAW)
    assert [each.reason for each in found.refusals] == [Reason.FILTER]
