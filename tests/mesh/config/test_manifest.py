"""Kubernetes manifests: annotations, and what Istio injected."""

from pathlib import Path

import pytest

from beewire.errors import UsageError
from beewire.mesh.config import (
    Configuration,
    Level,
    combine,
    read_pod,
    read_values,
    with_addresses,
)

SIDECAR = """\
apiVersion: v1
kind: Pod
metadata:
  name: web
  uid: 6a2d7c1e-0f5b-4c9e-9a51-3a2f1c7d9b10
  namespace: shop
  annotations:
    traffic.sidecar.istio.io/excludeOutboundPorts: "443"
spec:
  containers:
  - name: app
  - name: istio-proxy
    env:
    - {name: ISTIO_META_DNS_CAPTURE, value: "true"}
    - name: POD_NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    securityContext: {runAsUser: 1337, runAsGroup: 2000}
status:
  podIPs: [{ip: 10.1.2.3}, {ip: "fd00::1"}]
"""
INJECTED = """\
apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations:
    traffic.sidecar.istio.io/excludeOutboundPorts: "443"
    traffic.sidecar.istio.io/includeInboundPorts: "81"
spec:
  initContainers:
  - name: istio-init
    args:
    - istio-iptables
    - -p
    - "15001"
    - -b
    - "80"
    - -o
    - "443"
    - -i
    - "*"
    env:
    - {name: ISTIO_META_DNS_CAPTURE, value: "true"}
  containers:
  - name: istio-proxy
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "pod.yaml"
    path.write_text(SIDECAR)
    return path


def configured(path: Path) -> Configuration:
    return combine(read_pod(path).layer)


def test_a_pod_is_named_and_has_its_addresses(manifest: Path) -> None:
    pod = read_pod(manifest)

    assert (pod.namespace, pod.name) == ("shop", "web")
    assert pod.uid.startswith("6a2d7c1e-")
    assert [str(address) for address in pod.addresses] == ["10.1.2.3", "fd00::1"]
    assert not pod.host_network
    assert pod.skipped == ""


def test_annotations_and_the_sidecars_environment_are_read(manifest: Path) -> None:
    config = configured(manifest).config

    assert config.outbound_ports_exclude == (443,)
    assert config.redirect_dns
    assert config.capture_all_dns
    assert config.proxy_gid == (2000,)


def test_an_origin_has_the_annotations_line(manifest: Path) -> None:
    origin = configured(manifest).origin("outbound_ports_exclude", 443)

    assert str(origin) == (
        'annotation traffic.sidecar.istio.io/excludeOutboundPorts: "443"'
        f" ({manifest}:8)"
    )


def test_the_users_root_is_istios_default(manifest: Path) -> None:
    manifest.write_text(SIDECAR.replace("runAsUser: 1337", "runAsUser: 0"))

    assert configured(manifest).config.proxy_uid == (1337,)


def test_ipv6_follows_the_first_address_and_dual_stack(manifest: Path) -> None:
    pod = read_pod(manifest)
    single = combine(pod.layer)
    manifest.write_text(SIDECAR.replace("ISTIO_META_DNS_CAPTURE", "ISTIO_DUAL_STACK"))
    dual = configured(manifest)

    assert not with_addresses(single, pod.addresses).config.enable_ipv6
    assert with_addresses(single, pod.addresses[::-1]).config.enable_ipv6
    assert with_addresses(dual, pod.addresses).config.enable_ipv6


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Deployment", ["spec", "template"]),
        ("CronJob", ["spec", "jobTemplate", "spec", "template"]),
    ],
)
def test_a_workloads_template_is_read(
    tmp_path: Path, kind: str, path: list[str]
) -> None:
    key = "traffic.sidecar.istio.io/includeInboundPorts"
    nested = f'{{metadata: {{annotations: {{{key}: "80"}}}}, spec: {{}}}}'
    for name in reversed(path):
        nested = f"{{{name}: {nested}}}"
    manifest = tmp_path / "workload.yaml"
    manifest.write_text(f"kind: {kind}\nmetadata: {{name: web}}\n{nested[1:-1]}\n")

    assert configured(manifest).config.inbound_ports_include == (80,)


def test_one_of_several_pods_has_to_be_named(tmp_path: Path) -> None:
    manifest = tmp_path / "pods.yaml"
    manifest.write_text(
        "kind: Service\nmetadata: {name: web}\n---\n"
        "kind: List\nitems:\n- kind: Pod\n  metadata: {name: a}\n"
        "- kind: Pod\n  metadata: {name: b}\n"
    )

    assert read_pod(manifest, "b").name == "b"
    with pytest.raises(UsageError, match="has 2 pods: name one of them: a, b"):
        read_pod(manifest)
    with pytest.raises(UsageError, match="has no pod 'c'"):
        read_pod(manifest, "c")


def test_an_injected_pod_is_configured_by_its_init_container(tmp_path: Path) -> None:
    manifest = tmp_path / "pod.yaml"
    manifest.write_text(INJECTED)

    found = configured(manifest)

    assert found.config.inbound_ports_include == (80,)
    assert found.config.outbound_ports_exclude == (443,)
    assert found.config.redirect_dns
    assert not found.config.capture_all_dns
    assert "excludeOutboundPorts" in str(found.origin("outbound_ports_exclude"))
    assert str(found.origin("inbound_ports_include")).startswith("flag -b 80")
    notes = [str(each) for each in found.findings if each.level is Level.NOTE]
    assert any("when the pod is injected again" in note for note in notes)


def test_an_annotation_that_is_no_text_is_a_fault(manifest: Path) -> None:
    manifest.write_text(SIDECAR.replace('"443"', "443"))

    with pytest.raises(UsageError, match=r'pod\.yaml:8: .*Kubernetes.*"443"'):
        configured(manifest)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("spec:\n", "spec:\n  hostNetwork: true\n", "the host's network"),
        ("istio-proxy", "other", "no istio-proxy container"),
        ("ISTIO_META_DNS_CAPTURE", "DISABLE_ENVOY", "DISABLE_ENVOY is set"),
        (
            "annotations:\n",
            'annotations:\n    sidecar.istio.io/inject: "false"\n',
            "sidecar.istio.io/inject says so",
        ),
    ],
)
def test_a_pod_that_istio_leaves_alone_is_noted(
    manifest: Path, old: str, new: str, told: str
) -> None:
    manifest.write_text(SIDECAR.replace(old, new, 1))

    assert told in read_pod(manifest).skipped
    assert told in str(configured(manifest).findings[-1])


def test_a_pod_in_the_hosts_network_is_refused(manifest: Path) -> None:
    manifest.write_text(SIDECAR.replace("spec:\n", "spec:\n  hostNetwork: true\n"))

    [refusal] = read_pod(manifest).refusals()

    assert "spec.hostNetwork: cannot be served" in str(refusal)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no pod"),
        ("kind: Service\n", "there is Service"),
        ("kind: Deployment\nmetadata: {name: x}\n", "this Deployment has no pod"),
        ("kind: Pod\nmetadata: 3\n", "a mapping is expected"),
        ("kind: Pod\nspec: {containers: 3}\n", "a list is expected"),
        ("kind: Pod\nstatus: {podIP: nowhere}\n", "status: "),
    ],
)
def test_what_is_no_manifest_is_told(tmp_path: Path, text: str, told: str) -> None:
    manifest = tmp_path / "pod.yaml"
    manifest.write_text(text)

    with pytest.raises(UsageError, match=told):
        read_pod(manifest)


def test_helm_values_are_the_meshs_defaults(manifest: Path, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(
        "global:\n  proxy:\n    excludeOutboundPorts: '8443'\n"
        "    excludeIPRanges: 169.254.169.254/32\n    statusPort: 15999\n"
        "meshConfig: {proxyListenPort: 15101}\n"
    )

    found = combine(read_values(values), read_pod(manifest).layer)

    assert found.config.outbound_ports_exclude == (443,)
    assert str(found.config.outbound_ip_ranges_exclude[0]) == "169.254.169.254/32"
    assert 15999 in found.config.inbound_ports_exclude
    assert found.config.proxy_port == 15101
    assert str(found.origin("inbound_ports_exclude", 15999)) == (
        f'Helm value global.proxy.statusPort: "15999" ({values}:5)'
    )
