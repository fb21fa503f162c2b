"""What Istio is told about a pod's traffic, as one typed value.

    from_istio({"InboundPortsInclude": "*", "ProxyUID": "1337"})

`pod` holds the value itself, `istio` reads it from Istio's own spelling.
"""

from beewire.mesh.config.istio import from_istio
from beewire.mesh.config.pod import (
    ALL,
    All,
    InterceptionMode,
    IPNetwork,
    PodConfig,
    ProxyIdentity,
)

__all__ = [
    "ALL",
    "All",
    "IPNetwork",
    "InterceptionMode",
    "PodConfig",
    "ProxyIdentity",
    "from_istio",
]
