"""Connections that might be made: the rule, who set it, the hooks."""

import json
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.errors import UsageError
from beewire.mesh.config import Configuration, combine, python, read_annotations
from beewire.mesh.decision import Action, Rule, decide
from beewire.mesh.explain import RULES, Subject, explain, parse
from beewire.mesh.explain.hypothetical import connection_of

TRAFFIC = "traffic.sidecar.istio.io/"
SOURCES = ("10.0.0.5", "fd00::5", "127.0.0.6", "10.0.0.99")
TARGETS = ("10.96.0.10", "fd00::a", "127.0.0.1", "10.0.0.5", "::1", "192.168.1.1")


def subject(configuration: Configuration) -> Subject:
    return Subject(
        name="shop",
        cgroup=Path("/cgroup/pod"),
        proxy_cgroup=Path("/cgroup/pod/proxy"),
        namespace=Path("/run/netns/bw-none"),
        addresses=(ip_address("10.0.0.5"), ip_address("fd00::5")),
        configuration=configuration,
    )


def annotated(**annotations: str) -> Subject:
    told = {TRAFFIC + name: value for name, value in annotations.items()}
    return subject(combine(read_annotations(told)))


def test_the_annotation_that_decided_is_named() -> None:
    pod = annotated(excludeOutboundIPRanges="10.96.0.0/16")
    found = explain(pod, parse(["10.0.0.5:1234 -> 10.96.0.10:80"]))

    assert found.action == "PASS"
    assert found.rule == "OUT_EXCLUDED_RANGE"
    assert found.matched == "10.96.0.0/16"
    assert found.origin == (
        'annotation traffic.sidecar.istio.io/excludeOutboundIPRanges: "10.96.0.0/16"'
    )
    assert [step.hook for step in found.steps] == ["connect4"]


def test_a_captured_connection_passes_four_hooks() -> None:
    found = explain(annotated(), parse(["10.0.0.5:1234 -> 10.96.0.10:80"]))

    assert [step.hook for step in found.steps] == [
        *("connect4", "sock_ops", "getsockopt", "getpeername4"),
    ]
    assert found.steps[0].before == "10.96.0.10:80"
    assert found.steps[0].after == "127.65.x.y:15001"
    assert found.steps[2].place == "cgroup /cgroup/pod/proxy"


def test_ipv6_travels_with_the_connection() -> None:
    pod = subject(combine(read_annotations({}), python(enable_ipv6=True)))
    found = explain(pod, parse(["[fd00::5]:1234 -> [fd00::a]:80"]))

    assert found.steps[0].after == "[::1]:15001"
    assert "hands over" in found.steps[1].did


def test_inbound_has_its_own_address_for_an_answer() -> None:
    found = explain(annotated(), parse(["10.0.0.99:4000 -> 10.0.0.5:8080"]))

    assert (found.action, found.rule) == ("TO_INBOUND", "IN_ALL_PORTS")
    assert [step.hook for step in found.steps] == [
        "sk_lookup",
        "sock_ops",
        "getsockopt",
    ]


def test_a_user_makes_nobody_the_sidecar() -> None:
    question = parse(["10.0.0.5:1234 -> 10.96.0.10:80"])
    pod = annotated()

    stranger = explain(pod, question._replace(uid=1337))
    sidecar = explain(pod, question._replace(in_proxy=True))

    assert stranger.action == "TO_OUTBOUND"
    assert any("known by its cgroup" in note for note in stranger.notes)
    assert (sidecar.action, sidecar.rule) == ("PASS", "OUT_PROXY")


def test_a_connection_of_others_is_refused() -> None:
    with pytest.raises(UsageError, match=r"its own are 10\.0\.0\.5, fd00::5"):
        explain(annotated(), parse(["1.2.3.4:1 -> 5.6.7.8:9"]))


def _ranges(settings: dict[str, str]) -> dict[str, str]:
    name = "includeOutboundIPRanges"
    return {**settings, name: "10.0.0.0/8"} if name in settings else settings


@given(
    source=st.sampled_from(SOURCES),
    target=st.sampled_from(TARGETS),
    port=st.sampled_from([53, 80, 443, 15008, 15020]),
    protocol=st.sampled_from(["tcp", "udp"]),
    settings=st.dictionaries(
        st.sampled_from(
            ["excludeOutboundPorts", "includeOutboundIPRanges", "excludeInboundPorts"]
        ),
        st.sampled_from(["80", "443,53"]),
    ).map(_ranges),
    in_proxy=st.booleans(),
)
def test_it_says_what_the_decision_says(
    source: str,
    target: str,
    port: int,
    protocol: str,
    settings: dict[str, str],
    in_proxy: bool,
) -> None:
    ends = (ip_address(source), ip_address(target))
    if ends[0].version != ends[1].version:
        return
    pod = annotated(**settings)
    words = [protocol, *_written(source, 1234), "->", *_written(target, port)]
    question = parse(words)._replace(in_proxy=in_proxy)
    if not any(map(pod.is_own, ends)):
        return

    found = explain(pod, question)
    verdict = decide(pod.configuration.config, connection_of(pod, question))

    assert (found.action, found.number) == (verdict.action.name, verdict.rule)
    assert found.because == RULES[verdict.rule]


def _written(address: str, port: int) -> list[str]:
    return [f"[{address}]:{port}" if ":" in address else f"{address}:{port}"]


def test_text_and_json_are_of_one_structure() -> None:
    found = explain(annotated(), parse(["10.0.0.5:1234 -> 10.96.0.10:80"]))
    told = json.loads(json.dumps(found.to_json()))

    text = found.text()
    for value in (told["connection"], told["because"], told["rule"], told["origin"]):
        assert value in text
    for step in told["steps"]:
        assert step["did"] in text
        assert f"on {step['place']}" in text


def test_every_rule_and_action_has_its_words() -> None:
    assert set(RULES) == set(Rule)
    assert Action.REFUSE


def test_a_query_goes_to_the_agents_resolver() -> None:
    settings = python(redirect_dns=True, capture_all_dns=True)
    pod = subject(combine(read_annotations({}), settings))
    found = explain(pod, parse(["udp 10.0.0.5:999 -> 10.96.0.2:53"]))

    assert (found.action, found.rule) == ("TO_DNS", "OUT_DNS")
    assert found.origin.startswith("Python redirect_dns")
    assert [step.hook for step in found.steps] == [
        *("connect4", "getpeername4", "sendmsg4", "recvmsg4"),
    ]
    assert found.steps[2].after == "127.0.0.1:15053"
    assert any("a socket that connects" in note for note in found.notes)


def test_datagrams_besides_queries_pass_no_hook_that_decides() -> None:
    found = explain(annotated(), parse(["udp 10.0.0.5:999 -> 10.96.0.2:443"]))

    assert (found.action, found.rule) == ("PASS", "OUT_OTHER_PROTOCOL")
    assert found.steps == ()


def test_a_pod_whose_cgroup_is_not_known_says_so() -> None:
    pod = annotated()._replace(cgroup=Path(), proxy_cgroup=Path())
    found = explain(pod, parse(["10.96.0.10:80"]))

    assert found.steps[0].place == "its cgroup, which is not known yet"
    assert "nothing of this happens yet" in found.text()
