"""A pod's annotations, as Istio's injector and its CNI plugin read them."""

import difflib
from collections.abc import Mapping

from beewire.errors import UsageError
from beewire.mesh.config.helm import PROXY_CONFIG, read_proxy_config
from beewire.mesh.config.knobs import BEEWIRE, KNOBS, KUBEVIRT, REROUTE, TRAFFIC
from beewire.mesh.config.origins import Base, Collector, Layer, Origin, Source
from beewire.mesh.config.yamlfile import parse_documents

ANNOTATIONS = {name: knob for knob in KNOBS for name in knob.annotations}
# Annotations of these names are Istio's: one that is not known is a slip of the pen.
_ISTIOS = (TRAFFIC, "status.sidecar.istio.io/")
# Of Istio's other mode. Its CNI plugin leaves pods with a sidecar out of that.
_AMBIENT = ("ambient.istio.io/", "istio.io/dataplane-mode")
_SHORT = {name.rpartition("/")[2]: name for name in ANNOTATIONS}


def read_annotations(
    annotations: Mapping[str, str], places: Mapping[str, str] | None = None
) -> Layer:
    """What `annotations` say about interception; others are left alone.

    `places` tells where each stands ("pod.yaml:12"). Nothing is raised: faults are among
    the layer's findings, and `combine` raises them.
    """
    origins = [
        Origin(Source.ANNOTATION, name, text, (places or {}).get(name, ""))
        for name, text in annotations.items()
    ]
    found = Collector(Base.SIDECAR)
    # The more particular ones come later, and win.
    for origin in sorted(origins, key=_weight):
        if origin.name == PROXY_CONFIG:
            _proxy_config(found, origin)
        elif origin.name == KUBEVIRT and REROUTE in annotations:
            found.note(origin, f"is not read: {REROUTE} takes its place")
        elif origin.name in ANNOTATIONS:
            found.read(ANNOTATIONS[origin.name], origin, of_pod=True)
        elif origin.name.startswith(_AMBIENT):
            found.note(
                origin,
                "has no effect: in ambient mode ztunnel takes a pod's connections, and a pod"
                " with a sidecar is not in it",
            )
        elif origin.name.startswith(_ISTIOS):
            found.error(origin, "Istio knows no such annotation", _meant(origin.name))
        elif origin.name.startswith(BEEWIRE):
            found.error(origin, "Beewire knows no such annotation", _meant(origin.name))
        elif close := difflib.get_close_matches(origin.name, ANNOTATIONS, 1, 0.95):
            found.note(origin, "is not read", f"did you mean {close[0]}?")
    return found.layer()


def _weight(origin: Origin) -> int:
    return 0 if origin.name == PROXY_CONFIG else 1


def _proxy_config(found: Collector, origin: Origin) -> None:
    # The pod's own ProxyConfig, as YAML in one annotation.
    try:
        for document in parse_documents(origin.text, origin.name):
            read_proxy_config(found, document, origin)
    except UsageError as error:
        found.error(origin, f"cannot be read: {error}", "write a ProxyConfig in YAML")


def _meant(name: str) -> str:
    close = difflib.get_close_matches(name.rpartition("/")[2], _SHORT, 1, 0.75)
    if close:
        return f"write {_SHORT[close[0]]}"
    prefix = BEEWIRE if name.startswith(BEEWIRE) else TRAFFIC
    there = (short for short, whole in _SHORT.items() if whole.startswith(prefix))
    return f"there are {', '.join(there)}"
