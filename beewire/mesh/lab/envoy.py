"""The configuration of a sidecar, as Envoy reads it.

Two listeners like Istio's: outbound takes what the application dials, inbound what is
dialled to it. Both pass everything on to where it was going (an ORIGINAL_DST cluster);
HTTP responses are stamped `x-bw-outbound` or `x-bw-inbound` with the pod's name.

HTTP is otherwise left as lean as Envoy can be (no request ids, no access log), so that
a comparison shows interception. Statistics and timers are Istio's. The trace port alone
logs, and names the client.
"""

from dataclasses import dataclass
from pathlib import Path

# A message of Envoy's API, as json.dumps takes it.
Message = dict[str, object]

EXTENSIONS = "type.googleapis.com/envoy.extensions"
NETWORK = f"{EXTENSIONS}.filters.network"
ORIGINAL_DST = f"{EXTENSIONS}.filters.listener.original_dst.v3.OriginalDst"
# What a sidecar counts unless its owner asks for more (Istio's pkg/bootstrap/config.go:
# requiredEnvoyStatsMatcherInclusion...). Envoy alone would keep hundreds of counters.
STATS_BEGIN = ("cluster_manager", "listener_manager", "server")
STATS_END = ("downstream_cx_active",)
INBOUND_SOURCE = "127.0.0.6"
INBOUND_SOURCE6 = "::6"
# A logged request is found again by what it put here.
TRACE_HEADER = "x-bw-trace"

LOG_FIELDS = {
    "trace": f"%REQ({TRACE_HEADER.upper()})%",
    "request": "%REQ(:METHOD)% %REQ(:AUTHORITY)%%REQ(:PATH)%",
    "client": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "accepted_on": "%DOWNSTREAM_DIRECT_LOCAL_ADDRESS%",
    "original": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "upstream_source": "%UPSTREAM_LOCAL_ADDRESS%",
    "upstream": "%UPSTREAM_HOST%",
}


@dataclass(frozen=True, slots=True)
class SidecarConfig:
    """One sidecar.

    What a connection carries is told by the port that it was dialled to: `tcp_ports` are
    passed on as they are, all others are HTTP/1.1. Requests to `trace_port` tell the
    server who the client is (x-forwarded-for), and are written to `access_log`, one
    JSON object a line.
    """

    pod: str = ""
    outbound_port: int = 15001
    inbound_port: int = 15006
    admin_port: int = 15000
    tcp_ports: tuple[int, ...] = ()
    trace_port: int = 8080
    access_log: Path = Path("/dev/null")
    ipv6: bool = True


def bootstrap(config: SidecarConfig) -> Message:
    """Return Envoy's bootstrap configuration."""
    return {
        "admin": {"address": _address("127.0.0.1", config.admin_port)},
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": _kept_stats()}}
        },
        "static_resources": {
            "listeners": [_listener(config, "outbound"), _listener(config, "inbound")],
            "clusters": [_original("outbound", {}), _original("inbound", _OWN_SOURCE)],
        },
    }


def _kept_stats() -> list[Message]:
    begin: list[Message] = [{"prefix": name} for name in STATS_BEGIN]
    return begin + [{"suffix": name} for name in STATS_END]


_OWN_SOURCE: Message = {
    "upstream_bind_config": {
        "source_address": {"address": INBOUND_SOURCE, "port_value": 0},
        "extra_source_addresses": [
            {"address": {"address": INBOUND_SOURCE6, "port_value": 0}}
        ],
    }
}


def _listener(config: SidecarConfig, direction: str) -> Message:
    outbound = direction == "outbound"
    port = config.outbound_port if outbound else config.inbound_port
    # As Istio's dual stack: two sockets, so that IPv4 stays plain IPv4.
    second = [{"address": _address("::", port)}] if config.ipv6 else []
    chains: list[Message] = [
        # Dialled by its own number, a connection has no original destination: passing
        # it on would be passing it to ourselves.
        _chain(port, _tcp_proxy("nowhere"))
    ]
    chains += [_chain(raw, _tcp_proxy(direction)) for raw in config.tcp_ports]
    chains.append(_chain(config.trace_port, _traced_http(config, direction)))
    return {
        "name": direction,
        "address": _address("0.0.0.0", port),
        "additional_addresses": second,
        "traffic_direction": direction.upper(),
        "listener_filters": [
            _named("envoy.filters.listener.original_dst", ORIGINAL_DST)
        ],
        "filter_chains": chains,
        "default_filter_chain": {"filters": [_http(config, direction)]},
    }


def _chain(port: int, network_filter: Message) -> Message:
    match = {"destination_port": port}
    return {"filter_chain_match": match, "filters": [network_filter]}


def _http(config: SidecarConfig, direction: str, **more: object) -> Message:
    stamp = {"key": f"x-bw-{direction}", "value": config.pod}
    route = {
        "match": {"prefix": "/"},
        "route": {"cluster": direction, "timeout": "0s"},
        "response_headers_to_add": [{"header": stamp}],
    }
    host = {"name": "all", "domains": ["*"], "routes": [route]}
    router = _named(
        "envoy.filters.http.router",
        f"{EXTENSIONS}.filters.http.router.v3.Router",
        suppress_envoy_headers=True,
    )
    return _named(
        "envoy.filters.network.http_connection_manager",
        f"{NETWORK}.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=direction,
        codec_type="HTTP1",
        generate_request_id=False,
        stream_idle_timeout="0s",  # as istiod sends it; Envoy's own is 5 minutes
        server_header_transformation="PASS_THROUGH",
        route_config={"name": direction, "virtual_hosts": [host]},
        http_filters=[router],
        **more,
    )


def _traced_http(config: SidecarConfig, direction: str) -> Message:
    log = _named(
        "envoy.access_loggers.file",
        f"{EXTENSIONS}.access_loggers.file.v3.FileAccessLog",
        path=str(config.access_log),
        log_format={"json_format": {"direction": direction, **LOG_FIELDS}},
    )
    # The first sidecar knows the client; the second would add the first.
    first = direction == "outbound"
    return _http(config, direction, access_log=[log], use_remote_address=first)


def _tcp_proxy(cluster: str) -> Message:
    return _named(
        "envoy.filters.network.tcp_proxy",
        f"{NETWORK}.tcp_proxy.v3.TcpProxy",
        stat_prefix=f"tcp_{cluster}",
        cluster=cluster,
    )


def _original(name: str, more: Message) -> Message:
    return {
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "5s",
        **more,
    }


def _named(name: str, type_url: str, **fields: object) -> Message:
    return {"name": name, "typed_config": {"@type": type_url, **fields}}


def _address(address: str, port: int) -> Message:
    return {"socket_address": {"address": address, "port_value": port}}
