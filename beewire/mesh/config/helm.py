"""Mesh-wide defaults: the values that Istio was installed with.

    global:
      proxy:
        excludeIPRanges: 169.254.169.254/32
    meshConfig:
      defaultConfig:
        proxyMetadata:
          ISTIO_META_DNS_CAPTURE: "true"

Any other value is ignored: a whole values.yaml, or `helm get values istiod`, may be given.
"""

from collections.abc import Iterator
from pathlib import Path

from beewire.mesh.config.knobs import KNOB, KNOBS
from beewire.mesh.config.origins import Collector, Layer, Origin, Setting, Source
from beewire.mesh.config.yamlfile import Yaml, read_documents

PROXY_CONFIG = "proxy.istio.io/config"  # annotation: meshConfig.defaultConfig of a pod
_DEFAULT_CONFIG = "meshConfig.defaultConfig."


def read_values(path: Path | str) -> Layer:
    """What Istio's Helm values say about interception, as defaults of all pods.

    Faults in values are among the layer's findings.

    Raises:
        UsageError: the file is not there, or is no YAML.
    """
    found = Collector()
    for document in read_documents(Path(path)):
        for knob in KNOBS:
            for node in _under(document, knob.helm):
                origin = Origin(Source.VALUES, knob.helm, node.text(), node.place)
                found.read(knob, origin, of_pod=True)
    capture_all_of_pods(found)
    return found.layer()


def read_proxy_config(found: Collector, document: Yaml, annotation: Origin) -> None:
    """What a pod's own ProxyConfig, the text of `annotation`, says."""
    for knob in KNOBS:
        if knob.helm.startswith(_DEFAULT_CONFIG):
            path = knob.helm.removeprefix(_DEFAULT_CONFIG)
            for node in _under(document, path):
                name = f"{annotation.name} {path}"
                origin = Origin(annotation.source, name, node.text(), annotation.place)
                found.read(knob, origin, of_pod=True)
    capture_all_of_pods(found)


def _under(document: Yaml, path: str) -> Iterator[Yaml]:
    node = document.at(*path.split(".")) if path else None
    if node is not None:
        yield node


def capture_all_of_pods(found: Collector) -> None:
    """A pod's ISTIO_META_DNS_CAPTURE captures all DNS, whatever the resolver.

    Istio's CNI plugin cannot know the pod's /etc/resolv.conf.
    """
    dns = found.settings.get("redirect_dns")
    if dns is not None:
        found.settings[KNOB["capture_all_dns"].name] = Setting(dns.value, dns.origin)
