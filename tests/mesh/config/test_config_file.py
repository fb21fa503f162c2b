"""Beewire's own configuration file."""

from ipaddress import IPv6Address
from pathlib import Path

import pytest
from hypothesis import given, settings

from beewire.errors import UsageError
from beewire.mesh.config import (
    ALL,
    InterceptionMode,
    PodConfig,
    ProxyIdentity,
    combine,
    parse_file,
    read_annotations,
    read_file,
    read_flags,
    read_groups,
    with_addresses,
    write_file,
)
from tests.mesh.config.strategies import configs

DOCS = Path(__file__).parents[3] / "docs" / "mesh" / "configuration.md"


def read(text: str) -> PodConfig:
    return combine(parse_file(text, "mesh.yaml")).config


def test_a_file_stands_for_a_pod_with_a_sidecar() -> None:
    config = read("defaults: sidecar\n")

    assert config.inbound_ports_include is ALL
    assert config.inbound_ports_exclude == (15020, 15021, 15090)


def test_a_file_may_stand_for_istio_iptables() -> None:
    assert read("defaults: istio-iptables\n") == PodConfig()


def test_lists_texts_and_switches_are_read() -> None:
    config = read(
        "inbound:\n  mode: TPROXY\n  ports: [80, 443]\n"
        "outbound:\n  ranges: [10.0.0.0/8, 'fd00::/8']\n  exclude_ports: '8080, 9090'\n"
        "  groups: [java, 202]\n  group_ids: {java: 1001}\n"
        "dns: {capture: true, servers: [10.96.0.10, 'fd00::53']}\n"
        "proxy: {identity: owner, uids: [1337, 5]}\nipv6: true\n"
    )

    assert config.inbound_interception_mode is InterceptionMode.TPROXY
    assert config.inbound_ports_include == (80, 443)
    assert config.outbound_ports_exclude == (8080, 9090)
    assert config.gid("java") == 1001
    assert str(config.dns_servers_v6[0]) == "fd00::53"
    assert config.proxy_identity is ProxyIdentity.OWNER
    assert config.enable_ipv6


def test_an_origin_has_the_files_name_and_line() -> None:
    configuration = combine(
        parse_file("dns:\n  capture: true\n  all: true\n", "m.yaml")
    )

    assert (
        str(configuration.origin("redirect_dns"))
        == 'file dns.capture: "true" (m.yaml:2)'
    )


@settings(deadline=None)
@given(config=configs)
def test_a_configuration_reads_back_from_its_file(config: PodConfig) -> None:
    # Contradictions are faults of a file; the values themselves read back.
    layer = parse_file(write_file(config))

    read_back = {name: setting.value for name, setting in layer.settings.items()}

    for name, value in read_back.items():
        if name != "dns_servers":
            assert getattr(config, name) == value
    assert layer.findings == ()


def test_a_whole_configuration_reads_back_alone() -> None:
    config = read("outbound: {exclude_ports: [443]}\ndns: {capture: true, all: true}\n")

    assert read(write_file(config)) == config


@pytest.mark.parametrize("flags", ["", "-d 80", "-p 15002"])
def test_a_file_keeps_the_origins_of_its_settings(flags: str) -> None:
    annotations = {
        "traffic.sidecar.istio.io/excludeOutboundPorts": "443, 8443",
        "traffic.sidecar.istio.io/excludeInboundPorts": "22",
        "status.sidecar.istio.io/port": "15555",
        "sidecar.istio.io/interceptionMode": "TPROXY",
    }
    places = {name: f"pod.yaml:{line}" for line, name in enumerate(annotations, 5)}
    written = with_addresses(
        combine(
            read_annotations(annotations, places),
            read_flags(flags),
            read_groups(["java=1001"]),
        ),
        [IPv6Address("fd00::1")],
    )

    read_back = combine(parse_file(write_file(written)))

    assert read_back.config == written.config
    assert {name: each.origin for name, each in read_back.settings.items()} == {
        name: each.origin for name, each in written.settings.items()
    }
    for port in (22, 80, 15020, 15555):
        assert read_back.origin("inbound_ports_exclude", port) == written.origin(
            "inbound_ports_exclude", port
        )


def test_a_file_of_a_podconfig_says_whether_ipv6_is_captured() -> None:
    addresses = [IPv6Address("fd00::1")]

    said = combine(parse_file(write_file(PodConfig())))
    unsaid = combine(parse_file(write_file(combine(read_annotations({})))))

    assert not with_addresses(said, addresses).config.enable_ipv6
    assert with_addresses(unsaid, addresses).config.enable_ipv6


def test_flags_below_annotations_read_back_too() -> None:
    written = combine(
        read_flags("-b 80"),
        read_annotations({"traffic.sidecar.istio.io/excludeInboundPorts": "22"}),
    )

    read_back = combine(parse_file(write_file(written)))

    assert read_back.config == written.config


@pytest.mark.parametrize(
    "origin",
    [
        "dns.capture: {source: rumour, name: x}",
        "dns.capture: {source: flag, colour: x}",
        "dns.all: {source: flag, name: x}",
        "x: {source: flag, name: x}",
    ],
)
def test_what_is_no_origin_is_a_fault(origin: str) -> None:
    with pytest.raises(UsageError, match="is no origin of a setting"):
        read(f"dns: {{capture: true}}\norigins:\n  {origin}\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        (
            "inbound:\n  port: [80]\n",
            "mesh.yaml:2: inbound.port: .* write inbound.ports",
        ),
        ("colour: blue\n", "mesh.yaml:1: colour: there is no such key"),
        (
            "inbound:\n  ports: [80, 70000]\n",
            "mesh.yaml:2: inbound.ports: '70000' is not",
        ),
        (
            "inbound:\n  ports: [80]\n  ports: [81]\n",
            "mesh.yaml:3: 'ports' is written a",
        ),
        ("dns: 3\n", "mesh.yaml:1: a mapping is expected"),
        ("dns:\n  capture: [[true]]\n", "mesh.yaml:2: one value is expected"),
        ("dns:\n  capture: yes\n", "neither true nor false"),
        ("defaults: none\n", "mesh.yaml:1: defaults: 'none' has no defaults"),
        ("a: [\n", "mesh.yaml:2:1: is no YAML"),
        ("ipv6: true\n---\nipv6: false\n", "mesh.yaml:3: a second document"),
        ("kind: Pod\nmetadata: {}\n", "a Kubernetes object.* --pod"),
        ("- ipv6\n", "mesh.yaml:1: a mapping is expected"),
        ("a: &a {ports: [1]}\ninbound: {<<: *a}\n", "mesh.yaml:2: merge keys"),
        ("proxy: {status_port: 65536}\n", "proxy.status_port: '65536' is not a port"),
    ],
)
def test_a_fault_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read(text)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.yaml: No such file"):
        read_file(tmp_path / "nothing.yaml")


def test_the_file_in_the_documentation_is_that_of_a_pod_without_annotations() -> None:
    text = DOCS.read_text().partition("```yaml\n")[2].partition("```")[0]

    assert read(text) == read("defaults: sidecar\n")


def test_texts_that_yaml_takes_for_numbers_are_read_as_written() -> None:
    config = read("proxy: {uids: [0777]}\n")

    assert config.proxy_uid == (777,)
