"""The listeners that istiod pushes to a sidecar, and those of its bootstrap."""

from collections.abc import Sequence

from beewire.mesh.lab import clusters
from beewire.mesh.lab.description import Protocol, Service, SidecarConfig
from beewire.mesh.lab.messages import (
    EXTENSIONS,
    LISTENER,
    NETWORK,
    Message,
    address,
    http_inspector,
    named,
    original_dst_filter,
    tcp_proxy,
    tls_inspector,
)
from beewire.mesh.lab.tls import downstream

STATUS_PORT = 15021  # readiness, for the kubelet
PROMETHEUS_PORT = 15090
TPROXY_MARK = 1337
TRACE_HEADER = "x-bw-trace"  # a logged request is found again by what it put here

RAW: Message = {"transport_protocol": "raw_buffer"}
PLAIN_HTTP: Message = {**RAW, "application_protocols": ["http/1.1", "h2c"]}

LOG_FIELDS = {
    "trace": f"%REQ({TRACE_HEADER.upper()})%",
    "request": "%REQ(:METHOD)% %REQ(:AUTHORITY)%%REQ(:PATH)%",
    "client": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "accepted_on": "%DOWNSTREAM_DIRECT_LOCAL_ADDRESS%",
    "original": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "upstream_source": "%UPSTREAM_LOCAL_ADDRESS%",
    "upstream": "%UPSTREAM_HOST%",
}


def all_listeners(config: SidecarConfig) -> list[Message]:
    """Every listener of a sidecar; only the first four are bound to their ports."""
    http_ports = {p for p, kind in config.ports.items() if kind is not Protocol.TCP}
    http_ports |= {s.port for s in config.services if s.protocol is Protocol.HTTP}
    return [
        _virtual_outbound(config),
        _virtual_inbound(config),
        _static(config, STATUS_PORT, "/healthz/ready", clusters.AGENT),
        _static(config, PROMETHEUS_PORT, "/stats/prometheus", clusters.PROMETHEUS),
        *(_outbound_http(config, port) for port in sorted(http_ports)),
        *(_outbound_tcp(config, port) for port in config.tcp_ports),
        *(
            _outbound_service(service)
            for service in config.services
            if service.protocol is Protocol.TCP
        ),
    ]


def _virtual_outbound(config: SidecarConfig) -> Message:
    port = config.outbound_port
    return {
        "name": "virtualOutbound",
        **_bound(config.wildcards(port)),
        "traffic_direction": "OUTBOUND",
        "use_original_dst": True,
        "filter_chains": [
            # Dialled by its own number, a connection has no original destination:
            # passing it on would be passing it to ourselves.
            _chain(
                "virtualOutbound-blackhole",
                tcp_proxy(clusters.BLACK_HOLE),
                {"destination_port": port},
            ),
            _chain("virtualOutbound-catchall-tcp", tcp_proxy(clusters.PASSTHROUGH)),
        ],
    }


def _virtual_inbound(config: SidecarConfig) -> Message:
    port = config.inbound_port
    chains = [
        _chain(
            "virtualInbound-blackhole",
            tcp_proxy(clusters.BLACK_HOLE),
            {"destination_port": port},
        ),
        # Of chains that differ in more, Envoy looks only below the closest match: both
        # catch-all chains name the transport.
        _chain("virtualInbound", tcp_proxy(clusters.INBOUND_PASSTHROUGH), RAW),
    ]
    filters = [original_dst_filter()]
    if config.transparent:
        filters.append(
            named(
                "envoy.filters.listener.original_src",
                f"{LISTENER}.original_src.v3.OriginalSrc",
                mark=TPROXY_MARK,
            )
        )
    if config.sniffing:
        passed = _http(config, "inbound", _to(clusters.INBOUND_PASSTHROUGH))
        chains.append(_chain("virtualInbound-catchall-http", passed, PLAIN_HTTP))
        # Where it is told what a port carries, nothing needs to be found out.
        filters.append(http_inspector([port, *config.ports]))
    if config.mutual_tls:
        filters.append(tls_inspector(config.mutual_tls))
    chains += [_inbound_chain(config, *known) for known in config.ports.items()]
    return {
        "name": "virtualInbound",
        **_bound(config.wildcards(port)),
        "traffic_direction": "INBOUND",
        "listener_filters": filters,
        **_patience(),
        **({"transparent": True} if config.transparent else {}),
        "filter_chains": chains,
    }


def _inbound_chain(config: SidecarConfig, port: int, protocol: Protocol) -> Message:
    cluster = clusters.inbound(port)
    if protocol is Protocol.TCP:
        last = tcp_proxy(cluster)
    else:
        last = _http(config, "inbound", _to(cluster), port)
    if port in config.mutual_tls:
        match = {"destination_port": port, "transport_protocol": "tls"}
        return _chain(f"0.0.0.0_{port}", last, match) | downstream(config)
    return _chain(f"0.0.0.0_{port}", last, {"destination_port": port})


def _outbound_http(config: SidecarConfig, port: int) -> Message:
    services = [s for s in config.services if s.port == port]
    hosts = [
        _host(s.host, [s.host, s.address, f"{s.address}:{port}"], s.cluster)
        for s in services
    ]
    if port in config.ports:
        hosts.append(_host("lab", ["*"], clusters.outbound(port)))
    else:
        hosts.append(_host("allow_any", ["*"], clusters.PASSTHROUGH))
    http = _http(config, "outbound", hosts, port)
    listener: Message = {
        "name": f"0.0.0.0_{port}",
        **_bound(config.wildcards(port), to_port=False),
        "traffic_direction": "OUTBOUND",
    }
    if not config.sniffing:
        return listener | {"filter_chains": [{"filters": [http]}]}
    rest = tcp_proxy(clusters.PASSTHROUGH)
    return listener | {
        "listener_filters": [tls_inspector(), http_inspector()],
        **_patience(),
        "filter_chains": [{"filter_chain_match": PLAIN_HTTP, "filters": [http]}],
        "default_filter_chain": _chain("PassthroughFilterChain", rest),
    }


def _outbound_tcp(config: SidecarConfig, port: int) -> Message:
    return {
        "name": f"0.0.0.0_{port}",
        **_bound(config.wildcards(port), to_port=False),
        "traffic_direction": "OUTBOUND",
        "filter_chains": [{"filters": [tcp_proxy(clusters.outbound(port))]}],
    }


def _outbound_service(service: Service) -> Message:
    return {
        "name": f"{service.address}_{service.port}",
        **_bound([(service.address, service.port)], to_port=False),
        "traffic_direction": "OUTBOUND",
        "filter_chains": [{"filters": [tcp_proxy(service.cluster)]}],
    }


def _static(config: SidecarConfig, port: int, path: str, cluster: str) -> Message:
    route = {"match": {"prefix": path}, "route": {"cluster": cluster}}
    host = {"name": "backend", "domains": ["*"], "routes": [route]}
    manager = _manager(cluster, {"virtual_hosts": [host]})
    return {**_bound(config.wildcards(port)), "filter_chains": [{"filters": [manager]}]}


def _bound(places: Sequence[tuple[str, int]], *, to_port: bool = True) -> Message:
    first, *more = [{"address": address(*place)} for place in places]
    # As Istio's dual stack: two sockets, so that IPv4 stays plain IPv4.
    bound: Message = {**first, **({"additional_addresses": more} if more else {})}
    return bound if to_port else {**bound, "bind_to_port": False}


def _patience() -> Message:
    # istiod's protocolDetectionTimeout, 0: as long as it takes.
    return {
        "listener_filters_timeout": "0s",
        "continue_on_listener_filters_timeout": True,
    }


def _chain(name: str, network_filter: Message, match: Message | None = None) -> Message:
    matched: Message = {"filter_chain_match": match} if match else {}
    return {"name": name, **matched, "filters": [network_filter]}


def _to(cluster: str) -> list[Message]:
    return [_host(cluster, ["*"], cluster)]


def _host(name: str, domains: list[str], cluster: str) -> Message:
    route = {
        "match": {"prefix": "/"},
        "route": {"cluster": cluster, "timeout": "0s"},
    }
    return {"name": name, "domains": domains, "routes": [route]}


def _http(
    config: SidecarConfig, direction: str, hosts: list[Message], port: int = 0
) -> Message:
    routes: Message = {"name": _route_name(direction, port), "virtual_hosts": hosts}
    if config.stamped:
        stamp = {"key": f"x-bw-{direction}", "value": config.pod}
        routes["response_headers_to_add"] = [{"header": stamp}]
    if config.ports.get(port) is Protocol.GRPC:
        return _manager(direction, routes, codec_type="HTTP2")
    if port != config.trace_port:
        return _manager(direction, routes)
    log = named(
        "envoy.access_loggers.file",
        f"{EXTENSIONS}.access_loggers.file.v3.FileAccessLog",
        path=str(config.access_log),
        log_format={"json_format": {"direction": direction, **LOG_FIELDS}},
    )
    # The first sidecar knows the client; the second would add the first.
    first = direction == "outbound"
    return _manager(direction, routes, access_log=[log], use_remote_address=first)


def _route_name(direction: str, port: int) -> str:
    # Istio's names: a route configuration of a listener is no other's.
    if direction == "outbound":
        return str(port)
    return clusters.inbound(port) if port else clusters.INBOUND_PASSTHROUGH


def _manager(prefix: str, routes: Message, **more: object) -> Message:
    router = named(
        "envoy.filters.http.router",
        f"{EXTENSIONS}.filters.http.router.v3.Router",
        suppress_envoy_headers=True,
    )
    return named(
        "envoy.filters.network.http_connection_manager",
        f"{NETWORK}.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=prefix,
        generate_request_id=False,
        stream_idle_timeout="0s",  # as istiod sends it; Envoy's own is 5 minutes
        server_header_transformation="PASS_THROUGH",
        route_config=routes,
        http_filters=[router],
        **{"codec_type": "HTTP1", **more},
    )
