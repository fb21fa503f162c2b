"""A Kubernetes manifest: its pod's annotations, and what Istio injected into it.

With Istio's CNI plugin, or before injection, the annotations decide, the environment of
istio-proxy (DNS, dual stack, invalid packets) and the user it runs as. A pod with an
istio-init container was told already: its arguments and its environment decide.
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

from beewire.errors import UsageError
from beewire.mesh.config.annotations import ANNOTATIONS, read_annotations
from beewire.mesh.config.flags import read_flags
from beewire.mesh.config.helm import capture_all_of_pods
from beewire.mesh.config.knobs import KNOB
from beewire.mesh.config.origins import (
    Base,
    Collector,
    Finding,
    Layer,
    Level,
    Origin,
    Setting,
    Source,
)
from beewire.mesh.config.yamlfile import Yaml, read_documents, scalars

PROXY = "istio-proxy"
INIT = "istio-init"
# Where each kind keeps the pod.
_TEMPLATES = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
# What Istio's CNI plugin reads from the sidecar's environment.
_PROXY_VARIABLES = {
    "ISTIO_META_DNS_CAPTURE": KNOB["redirect_dns"],
    "ISTIO_DUAL_STACK": KNOB["dual_stack"],
    "INVALID_DROP": KNOB["drop_invalid"],
}
_USERS = {"runAsUser": "proxy_uid", "runAsGroup": "proxy_gid"}


class PodManifest(NamedTuple):
    """One pod of a manifest, and what it says about its interception.

    `uid` is "" before the pod was made; `addresses` are those of its status; `skipped`
    says why Istio leaves the pod alone, or is "". `layer` is for `combine`.
    """

    namespace: str
    name: str
    uid: str
    annotations: Mapping[str, str]
    addresses: tuple[IPv4Address | IPv6Address, ...]
    host_network: bool
    skipped: str
    place: str
    layer: Layer

    def refusals(self) -> tuple[Finding, ...]:
        """Why no pod like this can be served, whatever its configuration is."""
        if not self.host_network:
            return ()
        origin = Origin(Source.POD, "spec.hostNetwork", "true", self.place)
        problem = (
            "cannot be served: the pod has the host's network, and its cgroup and"
            " addresses are not its own; Istio does not inject such pods either"
        )
        return (Finding(Level.ERROR, origin, problem),)


def read_pod(path: Path | str, name: str | None = None) -> PodManifest:
    """The pod of a manifest: a Pod, or a workload's template; of several, the one `name`.

    Faults in annotations are among the layer's findings.

    Raises:
        UsageError: the file is not there, is no YAML, or has no such pod, or several.
    """
    objects = list(_objects(read_documents(Path(path))))
    workloads = [each for each in objects if _kind(each) in _TEMPLATES]
    if name is not None:
        workloads = [each for each in workloads if _name(each) == name]
    if len(workloads) == 1:
        return _manifest(workloads[0])
    if not workloads:
        wanted = f"pod {name!r}" if name else "pod"
        kinds = ", ".join(sorted({_kind(each) or "?" for each in objects})) or "nothing"
        raise UsageError(
            f"{path}: has no {wanted}: {', '.join(_TEMPLATES)} have one, and there is"
            f" {kinds}"
        )
    names = ", ".join(_name(each) for each in workloads)
    raise UsageError(f"{path}: has {len(workloads)} pods: name one of them: {names}")


def _objects(documents: list[Yaml]) -> Iterator[Yaml]:
    for document in documents:
        if document.is_mapping and _kind(document) == "List":
            items = document.at("items")
            yield from items.sequence() if items else []
        else:
            yield document


def _kind(document: Yaml) -> str:
    return _text(document.at("kind")) if document.is_mapping else ""


def _name(document: Yaml) -> str:
    name = document.at("metadata", "name") or document.at("metadata", "generateName")
    return _text(name)


def _text(node: Yaml | None) -> str:
    return node.text() if node is not None else ""


def _manifest(document: Yaml) -> PodManifest:
    pod = document.at(*_TEMPLATES[_kind(document)])
    if pod is None:
        raise UsageError(f"{document.place}: this {_kind(document)} has no pod")
    found = Collector(Base.SIDECAR)
    annotations, places = _annotations(pod, found)
    containers = _containers(pod)
    skipped = _skipped(pod, annotations, containers)
    layer = _layer(found, containers, annotations, places)
    if skipped:
        origin = Origin(Source.POD, _name(document), "", document.place)
        note = Finding(Level.NOTE, origin, f"Istio leaves this pod alone: {skipped}")
        layer = layer._replace(findings=(*layer.findings, note))
    return PodManifest(
        _text(document.at("metadata", "namespace")) or "default",
        _name(document),
        _text(document.at("metadata", "uid")) if _kind(document) == "Pod" else "",
        annotations,
        _addresses(pod),
        _host_network(pod),
        skipped,
        document.place,
        layer,
    )


def _annotations(pod: Yaml, found: Collector) -> tuple[dict[str, str], dict[str, str]]:
    node = pod.at("metadata", "annotations")
    texts, places = {}, {}
    for name, value in node.mapping().items() if node else ():
        if value.is_string:
            texts[name], places[name] = value.text(), value.place
        elif name in ANNOTATIONS:
            origin = Origin(Source.ANNOTATION, name, "", value.place)
            written = value.text() if value.is_scalar else "..."
            found.error(
                origin,
                "is no text, and Kubernetes takes nothing else for an annotation",
                f'write it in quotes: "{written}"',
            )
    return texts, places


def _containers(pod: Yaml) -> dict[str, Yaml]:
    # A native sidecar stands among the init containers.
    found: dict[str, Yaml] = {}
    for key in ("initContainers", "containers"):
        listed = pod.at("spec", key)
        for container in listed.sequence() if listed else ():
            name = container.at("name")
            if name:
                found[name.text()] = container
    return found


def _layer(
    found: Collector,
    containers: Mapping[str, Yaml],
    annotations: Mapping[str, str],
    places: Mapping[str, str],
) -> Layer:
    if INIT in containers:
        return _injected(found, containers[INIT], annotations, places)
    said = read_annotations(annotations, places)
    found.settings |= said.settings
    found.findings += said.findings
    if PROXY in containers:
        _proxy(found, containers[PROXY])
    return found.layer()


def _proxy(found: Collector, container: Yaml) -> None:
    for name, (text, place) in _environment(container).items():
        if name in _PROXY_VARIABLES:
            origin = Origin(Source.VARIABLE, name, text, place)
            found.read(_PROXY_VARIABLES[name], origin)
    capture_all_of_pods(found)
    for key, field in _USERS.items():
        node = container.at("securityContext", key)
        # Istio takes 1337 for root, as which TPROXY's sidecar runs.
        if node is not None and node.text() != "0":
            origin = Origin(
                Source.POD, f"{PROXY}'s securityContext.{key}", node.text(), node.place
            )
            found.read(KNOB[field], origin)


def _injected(
    found: Collector,
    container: Yaml,
    annotations: Mapping[str, str],
    places: Mapping[str, str],
) -> Layer:
    """The settings of an istio-init container, told by annotation where that says so."""
    arguments = container.at("args")
    words = [each.text() for each in arguments.sequence()] if arguments else []
    place = arguments.place if arguments else container.place
    variables = {name: text for name, (text, _) in _environment(container).items()}
    called = read_flags(words, variables, place)
    said = read_annotations(annotations, places)
    settings = dict(called.settings)
    notes = list(said.findings)
    for name, setting in said.settings.items():
        injected = settings.get(name)
        if KNOB[name].is_beewires:
            settings[name] = setting
            continue
        if injected is None or name == "inbound_ports_exclude":
            continue
        if injected.value == setting.value:
            settings[name] = Setting(injected.value, setting.origin)
        else:
            problem = f"is not what istio-init was told: {injected.origin}"
            advice = "it takes effect when the pod is injected again"
            notes.append(Finding(Level.NOTE, setting.origin, problem, advice))
    _name_ports(settings, said.settings)
    findings = (*found.findings, *called.findings, *notes)
    return Layer(settings, findings, Base.ISTIO_IPTABLES)


def _name_ports(settings: dict[str, Setting], said: Mapping[str, Setting]) -> None:
    # The injector wrote "15090,15021,<annotation>,<status port>" into one flag.
    given = said.get("inbound_ports_exclude")
    injected = settings.get("inbound_ports_exclude")
    if "status_port" in said:
        settings["status_port"] = said["status_port"]
    if given and injected and isinstance(given.value, tuple):
        value = injected.value
        if isinstance(value, tuple) and set(given.value) <= set(value):
            settings["inbound_ports_exclude"] = Setting(value, given.origin)


def _environment(container: Yaml) -> dict[str, tuple[str, str]]:
    listed = container.at("env")
    found = {}
    for entry in listed.sequence() if listed else ():
        name, value = entry.at("name"), entry.mapping().get("value")
        if name is not None and value is not None:
            found[name.text()] = (value.text(), value.place)
    return found


def _host_network(pod: Yaml) -> bool:
    network = pod.at("spec", "hostNetwork")
    return network is not None and network.text() == "true"


def _skipped(
    pod: Yaml, annotations: Mapping[str, str], containers: Mapping[str, Yaml]
) -> str:
    """Why Istio would not intercept this pod, in the order its CNI plugin asks."""
    if _host_network(pod):
        return "it uses the host's network"
    if PROXY not in containers:
        return f"it has no {PROXY} container; was it injected?"
    environment = _environment(containers[PROXY])
    if environment.get("DISABLE_ENVOY", ("", ""))[0] in {
        "1",
        "t",
        "T",
        "true",
        "TRUE",
        "True",
    }:
        return f"DISABLE_ENVOY is set in {PROXY}"
    labels = pod.at("metadata", "labels")
    told = scalars(labels) if labels else {}
    key = "sidecar.istio.io/inject"
    if told.get(key, annotations.get(key, "")) in {
        "0",
        "f",
        "F",
        "false",
        "FALSE",
        "False",
    }:
        return f"{key} says so"
    return ""


def _addresses(pod: Yaml) -> tuple[IPv4Address | IPv6Address, ...]:
    listed = pod.at("status", "podIPs")
    nodes = [each.at("ip") for each in listed.sequence()] if listed else []
    nodes = nodes or [pod.at("status", "podIP")]
    try:
        return tuple(ip_address(each.text()) for each in nodes if each is not None)
    except ValueError as error:
        raise UsageError(f"{pod.place}: status: {error}") from None
