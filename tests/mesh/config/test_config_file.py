"""Beewire's own configuration file."""

from pathlib import Path

import pytest
from hypothesis import given

from beewire.errors import UsageError
from beewire.mesh.config import (
    ALL,
    InterceptionMode,
    PodConfig,
    ProxyIdentity,
    combine,
    parse_file,
    read_file,
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


@given(config=configs)
def test_a_configuration_reads_back_from_its_file(config: PodConfig) -> None:
    # Contradictions are faults of a file; the values themselves read back.
    layer = parse_file(write_file(config))

    read_back = {name: setting.value for name, setting in layer.settings.items()}

    for name, value in read_back.items():
        if name != "dns_servers":
            assert getattr(config, name) == value
    assert layer.findings == () or all(
        "127." in str(finding) for finding in layer.findings
    )


def test_a_whole_configuration_reads_back_alone() -> None:
    config = read("outbound: {exclude_ports: [443]}\ndns: {capture: true, all: true}\n")

    assert read(write_file(config)) == config


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
