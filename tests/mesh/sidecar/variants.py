"""Everything that a sidecar may do at a port, or with a destination, in one Envoy.

INBOUND are ports of the pod's own, DESTINATIONS what its application may dial; each with a
word for what is special about it.
"""

import json
from collections.abc import Callable
from pathlib import Path

from beewire.mesh.lab import SidecarConfig
from beewire.mesh.lab.clusters import inbound
from beewire.mesh.lab.description import Protocol, Service
from beewire.mesh.lab.messages import (
    EXTENSIONS,
    LISTENER,
    NETWORK,
    UNLIMITED,
    Message,
    address,
    named,
    tcp_proxy,
)
from beewire.mesh.lab.pushing import Resources

B = "10.77.2.2"
INBOUND = {
    80: "HTTP",
    9000: "TCP",
    9001: "mutual TLS, STRICT",
    9002: "mutual TLS, PERMISSIVE",
    9003: "RBAC",
    9004: "RBAC that only watches (dry run)",
    9005: "weighted clusters",
    9006: "HTTP CONNECT",
    9007: "an access log",
    9008: "clients of one range",
    9009: "rate limits",
    9010: "a limit of connections",
    9011: "to another port",
    9012: "a cluster that is limited",
    9013: "an unknown filter",
    9014: "TCP, and plaintext HTTP by the name of its protocol",
    9015: "TCP, and an idle timeout",
    9016: "chains by address: one of them leads to HTTP",
    9017: "a cluster that speaks TLS",
    9018: "a connection may last so long",
    9999: "what istiod does not know",
}
DESTINATIONS = {
    (B, 80): "HTTP",
    (B, 9000): "TCP, to where it was dialled",
    (B, 9001): "mutual TLS",
    (B, 9999): "what istiod does not know",
    ("10.96.0.10", 81): "a Service with one endpoint",
    ("10.96.0.11", 81): "a Service with two endpoints",
    ("10.96.0.12", 81): "a Service with none",
    ("10.96.0.13", 81): "endpoints by their names",
    ("10.96.0.14", 81): "one endpoint, which a list that is pushed has",
    ("10.96.0.15", 81): "one endpoint, and a transport that its metadata chooses",
    ("10.96.0.16", 81): "one endpoint, in plaintext by its metadata",
    ("10.96.0.17", 81): "RBAC",
    ("10.96.0.18", 81): "outlier detection",
    ("10.96.0.19", 81): "the server name chooses",
    ("10.96.0.20", 81): "PROXY protocol to its endpoint",
    ("fd77:2::2", 9000): "IPv6, to where it was dialled",
}


_STATE = {
    "object_key": "lab",
    "factory_key": "envoy.string",
    "format_string": {"text_format_source": {"inline_string": "x"}},
}


def config() -> SidecarConfig:
    """What istiod would know; `edit` adds the rest. Mutual TLS needs an identity."""
    services = tuple(
        Service(f"{kind}.svc", f"10.96.0.{number}", 81, pods, 9000, Protocol.TCP)
        for number, kind, pods in (
            (10, "one", (B,)),
            (11, "two", (B, "10.77.3.2")),
            (12, "none", ()),
        )
    )
    return SidecarConfig(tcp_ports=(9000, 9001), mutual_tls=(9001,), services=services)


def edit(state: Path) -> Callable[[Resources], None]:
    """What changes the resources of `config`; a pushed list of endpoints is in `state`."""

    def change(resources: Resources) -> None:
        listener = next(
            each for each in resources.listeners if each["name"] == "virtualInbound"
        )
        chains = listener["filter_chains"]
        assert isinstance(chains, list)
        mutual = next(each for each in chains if each["name"] == "0.0.0.0_9001")
        http = next(each for each in chains if each["name"] == "0.0.0.0_80")
        chains += _inbound_chains(mutual["transport_socket"], http["filters"])
        resources.clusters.extend(_inbound_clusters())
        resources.listeners.extend(_outbound_listeners())
        resources.clusters.extend(_outbound_clusters(state))

    return change


def _chain(
    port: int, *filters: Message, match: Message | None = None, **more: object
) -> Message:
    last = filters or (_proxy(),)
    return {
        "name": f"0.0.0.0_{port}",
        "filter_chain_match": {"destination_port": port, **(match or {})},
        "filters": list(last),
        **more,
    }


def _proxy(**more: object) -> Message:
    found = tcp_proxy(inbound(9000))
    config = found["typed_config"]
    assert isinstance(config, dict)
    config.update(more)
    if "weighted_clusters" in more:
        del config["cluster"]
    return found


def _rbac(field: str) -> Message:
    rules = {
        "policies": {
            "all": {"permissions": [{"any": True}], "principals": [{"any": True}]}
        }
    }
    return _network("rbac", "rbac.v3.RBAC", stat_prefix="rbac", **{field: rules})


def _network(name: str, kind: str, **fields: object) -> Message:
    return named(f"envoy.filters.network.{name}", f"{NETWORK}.{kind}", **fields)


def _inbound_chains(tls: object, http: object) -> list[Message]:
    istio: Message = {"transport_protocol": "tls", "application_protocols": ["istio"]}
    weights = [
        {"name": inbound(9000), "weight": 1},
        {"name": inbound(9001), "weight": 1},
    ]
    bucket = {"max_tokens": 1000, "fill_interval": "1s"}
    log = named(
        "envoy.access_loggers.file",
        f"{EXTENSIONS}.access_loggers.file.v3.FileAccessLog",
        path="/dev/null",
    )
    return [
        _chain(9002, match=istio, transport_socket=tls),
        _chain(9002, match={"transport_protocol": "raw_buffer"}),
        _chain(9003, _rbac("rules"), _proxy()),
        _chain(9004, _rbac("shadow_rules"), _proxy()),
        _chain(9005, _proxy(weighted_clusters={"clusters": weights})),
        _chain(9006, _proxy(tunneling_config={"hostname": "b:9000"})),
        _chain(9007, _proxy(access_log=[log])),
        _chain(9008, match={"source_prefix_ranges": [_range("10.77.1.0", 24)]}),
        _chain(9009, _network("local_ratelimit", "local_ratelimit.v3.LocalRateLimit",
                              stat_prefix="limit", token_bucket=bucket), _proxy()),
        _chain(9010, _network("connection_limit", "connection_limit.v3.ConnectionLimit",
                              stat_prefix="limit", max_connections=10), _proxy()),
        _chain(9011, tcp_proxy("elsewhere")),
        _chain(9012, tcp_proxy("limited")),
        _chain(9013, _network("set_filter_state", "set_filter_state.v3.Config",
                              on_new_connection=[_STATE]), _proxy()),
        _chain(9014),
        {"name": "http", "filter_chain_match":
            {"destination_port": 9014, "application_protocols": ["http/1.1"]}, "filters": http},
        _chain(9015, _proxy(idle_timeout="3600s")),
        _chain(9016, match={"prefix_ranges": [_range("0.0.0.0", 0)]}),
        {"name": "http", "filter_chain_match":
            {"destination_port": 9016, "prefix_ranges": [_range("10.77.2.0", 24)]}, "filters": http},
        _chain(9017, tcp_proxy("inbound-tls")),
        _chain(9018, _proxy(max_downstream_connection_duration="60s")),
    ]  # fmt: skip


def _range(prefix: str, bits: int) -> Message:
    return {"address_prefix": prefix, "prefix_len": bits}


def _inbound_clusters() -> list[Message]:
    limit = {"thresholds": [{"max_connections": 100}]}
    return [
        _static("elsewhere", [("127.0.0.1", 9000)]),
        {"name": "limited", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED",
         "connect_timeout": "1s", "circuit_breakers": limit},
        {"name": "inbound-tls", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED",
         "connect_timeout": "1s", "transport_socket": _tls()},
    ]  # fmt: skip


def _static(name: str, places: list[tuple[str, int]], **more: object) -> Message:
    ends: list[Message] = [
        {"endpoint": {"address": address(*place)}} for place in places
    ]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [{"max_connections": UNLIMITED}]},
        "load_assignment": _assigned(name, ends),
        **more,
    }


def _assigned(name: str, ends: list[Message]) -> Message:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": ends}]}


def _tls(**more: object) -> Message:
    kind = f"{EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext"
    return named("envoy.transport_sockets.tls", kind, **more)


def _outbound_listeners() -> list[Message]:
    simple = {
        13: "named",
        14: "listed",
        15: "matched",
        16: "unmatched",
        18: "watched",
        20: "introduced",
    }
    chosen: list[Message] = [
        {"filter_chain_match": {"server_names": ["b.example"]},
         "filters": [tcp_proxy("outbound|81||two.svc")]},
        {"filters": [tcp_proxy("outbound|81||one.svc")]},
    ]  # fmt: skip
    return [
        *(_listener(number, [{"filters": [tcp_proxy(name)]}]) for number, name in simple.items()),
        _listener(17, [{"filters": [_rbac("rules"), tcp_proxy("outbound|81||one.svc")]}]),
        {**_listener(19, chosen), "listener_filters": [_inspector()]},
    ]  # fmt: skip


def _inspector() -> Message:
    kind = f"{LISTENER}.tls_inspector.v3.TlsInspector"
    return named("envoy.filters.listener.tls_inspector", kind)


def _listener(number: int, chains: list[Message]) -> Message:
    host = f"10.96.0.{number}"
    return {
        "name": f"{host}_81",
        "address": address(host, 81),
        "bind_to_port": False,
        "traffic_direction": "OUTBOUND",
        "filter_chains": chains,
    }


def _outbound_clusters(state: Path) -> list[Message]:
    listed = state / "endpoints.json"
    end: Message = {"endpoint": {"address": address(B, 9000)}}
    kind = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    assigned = {"@type": kind, **_assigned("outbound|81||listed.svc", [end])}
    listed.write_text(json.dumps({"version_info": "1", "resources": [assigned]}))
    listed.chmod(0o644)
    raw = named(
        "envoy.transport_sockets.raw_buffer",
        f"{EXTENSIONS}.transport_sockets.raw_buffer.v3.RawBuffer",
    )
    matches = [
        {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": _tls()},
        {"name": "tlsMode-disabled", "match": {}, "transport_socket": raw},
    ]  # fmt: skip
    metadata = {
        "filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}
    }
    speaking: Message = {**end, "metadata": metadata}
    introduced = named(
        "envoy.transport_sockets.upstream_proxy_protocol",
        f"{EXTENSIONS}.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        transport_socket=raw,
    )
    byname = _static("named", [("localhost", 9000)], type="STRICT_DNS")
    source = {"path_config_source": {"path": str(listed)}, "resource_api_version": "V3"}
    return [
        byname,
        {"name": "listed", "type": "EDS", "connect_timeout": "1s", "eds_cluster_config":
            {"service_name": "outbound|81||listed.svc", "eds_config": source}},
        {**_static("matched", []), "load_assignment": _assigned("matched", [speaking]),
         "transport_socket_matches": matches},
        _static("unmatched", [(B, 9000)], transport_socket_matches=matches),
        _static("watched", [(B, 9000)], outlier_detection={"consecutive_5xx": 5}),
        _static("introduced", [(B, 9000)], transport_socket=introduced),
    ]  # fmt: skip
