"""The clusters that istiod pushes to a sidecar, and those of its bootstrap."""

from collections.abc import Iterable

from beewire.mesh.lab.description import Service, SidecarConfig
from beewire.mesh.lab.messages import UNLIMITED, UPSTREAM_HTTP, Message, address
from beewire.mesh.lab.tls import upstream

# From here the sidecar calls its own application: what the rules of istio-iptables, and
# Beewire, leave alone (Istio's InboundPassthroughBindIpv4 and ...Ipv6).
INBOUND_SOURCE = "127.0.0.6"
INBOUND_SOURCE6 = "::6"

BLACK_HOLE = "BlackHoleCluster"
PASSTHROUGH = "PassthroughCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"
AGENT = "agent"
PROMETHEUS = "prometheus_stats"
STATUS_PORT = 15020  # pilot-agent's
HEADLESS = "lab.bw"  # the Service that all of the lab's pods are


def inbound(port: int) -> str:
    """The cluster of a port of the pod's own."""
    return f"inbound|{port}||"


def outbound(port: int) -> str:
    """The cluster of a port of the lab's headless Service."""
    return f"outbound|{port}||{HEADLESS}"


def all_clusters(config: SidecarConfig) -> list[Message]:
    """Every cluster of a sidecar, in istiod's order."""
    own_source = _own_source(config)
    return [
        _static(PROMETHEUS, [("127.0.0.1", config.admin_port)]),
        _static(AGENT, [("127.0.0.1", STATUS_PORT)]),
        *(_original(outbound(port), **upstream(config, port)) for port in config.ports),
        *(_of(service) for service in config.services),
        _static(BLACK_HOLE, []),
        _original(PASSTHROUGH),
        _original(INBOUND_PASSTHROUGH, **own_source),
        *(_original(inbound(port), **own_source) for port in config.ports),
    ]


def _own_source(config: SidecarConfig) -> Message:
    if config.transparent:  # the client's address is kept instead
        return {}
    bind: Message = {"source_address": {"address": INBOUND_SOURCE, "port_value": 0}}
    if config.ipv6:
        second = {"address": INBOUND_SOURCE6, "port_value": 0}
        bind["extra_source_addresses"] = [{"address": second}]
    return {"upstream_bind_config": bind}


def _of(service: Service) -> Message:
    port = service.target_port or service.port
    return _static(service.cluster, [(pod, port) for pod in service.endpoints])


def _original(name: str, **more: object) -> Message:
    return {
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "cleanup_interval": "60s",
        **_defaults(),
        **more,
    }


def _static(name: str, endpoints: Iterable[tuple[str, int]]) -> Message:
    places = [{"endpoint": {"address": address(*place)}} for place in endpoints]
    cluster: Message = {"name": name, "type": "STATIC", **_defaults()}
    if places:
        cluster["load_assignment"] = {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": places}],
        }
    return cluster


def _defaults() -> Message:
    limit = {
        "max_connections": UNLIMITED,
        "max_pending_requests": UNLIMITED,
        "max_requests": UNLIMITED,
        "max_retries": UNLIMITED,
        "track_remaining": True,
    }
    options: Message = {
        "@type": f"type.googleapis.com/{UPSTREAM_HTTP}",
        "use_downstream_protocol_config": {
            "http_protocol_options": {},
            "http2_protocol_options": {},
        },
    }
    return {
        "connect_timeout": "10s",
        "circuit_breakers": {"thresholds": [limit]},
        "typed_extension_protocol_options": {UPSTREAM_HTTP: options},
    }
