"""Where a cluster leads, and by which transport (envoy/config/cluster/v3/cluster.proto)."""

from collections.abc import Iterator

from beewire.mesh.sidecar.dump import ORIGINAL_DST, Cluster, Dump, Endpoint
from beewire.mesh.sidecar.fields import (
    Message,
    child,
    children,
    number,
    text,
)
from beewire.mesh.sidecar.filters import TELEMETRY, type_of
from beewire.mesh.sidecar.reasons import Place, Reason, Refusal

_LISTED = ("STATIC", "EDS")
_RAW = "envoy.transport_sockets.raw_buffer"
_UNLIMITED = 0xFFFF_FFFF
_MATCH = "envoy.transport_socket_match"  # metadata by which an endpoint's is chosen
_MUTUAL = "tlsMode-istio"  # istiod's name of the transport between sidecars
_REFUSED = {
    "health_checks": (Reason.POLICY, "endpoints are checked before they serve"),
    "outlier_detection": (Reason.POLICY, "endpoints that fail are left out for a while"),
    "lb_subset_config": (Reason.BALANCING, "metadata chooses among endpoints"),
    "transport_socket_matcher": (Reason.FILTER, "a matcher chooses its transport"),
}  # fmt: skip


_TRANSPORTS = {
    "upstream_proxy_protocol": (Reason.PROTOCOL, "it tells who the client is: PROXY protocol"),
    "internal_upstream": (Reason.TUNNEL, "it leads to a listener inside, as tunnels do (HBONE)"),
    "http_11_proxy": (Reason.TUNNEL, "it travels inside of HTTP CONNECT"),
}  # fmt: skip


def leads_to(
    dump: Dump, name: str, dialled: Place
) -> tuple[Place | None, list[Refusal]]:
    """The one place that a cluster leads to, or why it leads to none, or to several."""
    cluster = dump.clusters.get(name)
    if cluster is None:
        return None, [Refusal(Reason.ELSEWHERE, "there is no such cluster", name)]
    found = list(_limits(cluster))
    endpoint, refusals = _endpoint(cluster, dialled)
    found += refusals
    found += transport(cluster, endpoint)
    return (None if found or endpoint is None else endpoint.place), found


def _endpoint(
    cluster: Cluster, dialled: Place
) -> tuple[Endpoint | None, list[Refusal]]:
    name, message = cluster.name, cluster.message
    kind = text(message, "type") or ("" if "cluster_type" in message else "STATIC")
    if kind == ORIGINAL_DST:
        if child(message, "original_dst_lb_config"):
            says = "something else than what was dialled says where it leads"
            return None, [Refusal(Reason.BALANCING, says, name)]
        return Endpoint(dialled, {}), []
    if kind not in _LISTED:
        says = f"its endpoints are not known: it is of type {kind or 'unknown'}"
        return None, [Refusal(Reason.BALANCING, says, name)]
    if cluster.endpoints is None:
        says = "its endpoints are not known: Envoy does not tell them"
        return None, [Refusal(Reason.BALANCING, says, name)]
    if len(cluster.endpoints) != 1:
        n = len(cluster.endpoints)
        says = f"it chooses among {n} endpoints" if n else "it has no endpoint"
        return None, [Refusal(Reason.BALANCING, says, name)]
    (only,) = cluster.endpoints
    if only.place is None:
        says = "its endpoint is no address and port"
        return None, [Refusal(Reason.TUNNEL, says, name)]
    if text(only.message, "health_status") not in ("", "UNKNOWN", "HEALTHY"):
        says = f"its endpoint is {text(only.message, 'health_status').lower()}"
        return None, [Refusal(Reason.POLICY, says, name)]
    return only, []


def _limits(cluster: Cluster) -> Iterator[Refusal]:
    name, message = cluster.name, cluster.message
    for field, (reason, says) in _REFUSED.items():
        if message.get(field):
            yield Refusal(reason, says, name)
    for each in children(message, "filters"):
        if type_of(each) not in TELEMETRY:
            says = f"the upstream filter {text(each, 'name')} is not known"
            yield Refusal(Reason.FILTER, says, name)
    for each in children(child(message, "circuit_breakers"), "thresholds"):
        most = number(each, "max_connections") or _UNLIMITED
        if most < _UNLIMITED:
            says = f"it takes {most:,} connections at most"
            yield Refusal(Reason.LIMIT, says, name)


def transport(cluster: Cluster, endpoint: Endpoint | None) -> list[Refusal]:
    """Why a cluster does not reach an endpoint as plaintext; nothing if it does."""
    name, chosen = _transport(cluster.message, endpoint)
    kind = text(chosen, "name")
    if not chosen or kind == _RAW:
        return []
    said = type_of(chosen)
    if not said.endswith(".UpstreamTlsContext"):
        reason, says = _TRANSPORTS.get(
            kind.rpartition(".")[2],
            (Reason.FILTER, f"its transport {kind} is not known"),
        )
        return [Refusal(reason, says, cluster.name)]
    if name == _MUTUAL or _has_certificate(child(chosen, "typed_config")):
        return [Refusal(Reason.MTLS, "it speaks mutual TLS", cluster.name)]
    return [Refusal(Reason.TLS, "it speaks TLS", cluster.name)]


def _has_certificate(context: Message) -> bool:
    common = child(context, "common_tls_context")
    return bool(
        common.get("tls_certificates")
        or common.get("tls_certificate_sds_secret_configs")
        or common.get("tls_certificate_provider_instance")
    )


def _transport(message: Message, endpoint: Endpoint | None) -> tuple[str, Message]:
    """The transport of an endpoint, by the first match; else the cluster's own."""
    said = endpoint.message if endpoint else {}
    metadata = child(child(child(said, "metadata"), "filter_metadata"), _MATCH)
    for each in children(message, "transport_socket_matches"):
        wanted = child(each, "match")
        if all(metadata.get(key) == value for key, value in wanted.items()):
            return text(each, "name"), child(each, "transport_socket")
    return "", child(message, "transport_socket")
