"""Words of Envoy's API, as plain values that json.dumps takes."""

from collections.abc import Iterable

Message = dict[str, object]

EXTENSIONS = "type.googleapis.com/envoy.extensions"
NETWORK = f"{EXTENSIONS}.filters.network"
LISTENER = f"{EXTENSIONS}.filters.listener"
UPSTREAM_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
UNLIMITED = 4294967295  # istiod takes Envoy's own limit of 1024 connections away


def named(name: str, type_url: str, **fields: object) -> Message:
    """An extension: its name and its typed configuration."""
    return {"name": name, "typed_config": {"@type": type_url, **fields}}


def address(host: str, port: int) -> Message:
    """A TCP address."""
    return {"socket_address": {"address": host, "port_value": port}}


def tcp_proxy(cluster: str) -> Message:
    """The network filter that passes bytes on to `cluster`."""
    return named(
        "envoy.filters.network.tcp_proxy",
        f"{NETWORK}.tcp_proxy.v3.TcpProxy",
        stat_prefix=cluster,
        cluster=cluster,
    )


def original_dst_filter() -> Message:
    """The listener filter that asks SO_ORIGINAL_DST."""
    return named(
        "envoy.filters.listener.original_dst",
        f"{LISTENER}.original_dst.v3.OriginalDst",
    )


def tls_inspector(only_at: Iterable[int] = ()) -> Message:
    """The listener filter that looks for a TLS hello, everywhere or at `only_at`."""
    inspector = named(
        "envoy.filters.listener.tls_inspector",
        f"{LISTENER}.tls_inspector.v3.TlsInspector",
    )
    ports = _ports(only_at)
    return inspector | ({"filter_disabled": {"not_match": ports}} if ports else {})


def http_inspector(not_at: Iterable[int] = ()) -> Message:
    """The listener filter that looks for HTTP, except at the ports `not_at`."""
    inspector = named(
        "envoy.filters.listener.http_inspector",
        f"{LISTENER}.http_inspector.v3.HttpInspector",
    )
    ports = _ports(not_at)
    return inspector | ({"filter_disabled": ports} if ports else {})


def _ports(ports: Iterable[int]) -> Message:
    # The predicate "a connection to one of these", or nothing for none.
    rules: list[Message] = [
        {"destination_port_range": {"start": port, "end": port + 1}} for port in ports
    ]
    return {"or_match": {"rules": rules}} if len(rules) > 1 else {**(rules or [{}])[0]}
