"""A pod's configuration as it travels and is kept: settings by Istio's names, in JSON."""

from collections.abc import Mapping

from beewire.mesh.config import PodConfig, from_istio

# What Istio's injector asks for when a pod has no annotations.
INJECTED: Mapping[str, object] = {
    "InboundPortsInclude": "*",
    "InboundPortsExclude": "15020,15021,15090",
    "OutboundIPRangesInclude": "*",
    "EnableIPv6": True,
}


def config_of(settings: Mapping[str, object]) -> PodConfig:
    """The configuration that settings stand for; the injector's where there are none.

    Raises:
        UsageError: a name that Istio does not know, or a value that it could not mean.
    """
    return from_istio(settings or INJECTED)
