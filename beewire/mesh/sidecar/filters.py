"""What listeners and filter chains do besides passing bytes on.

Filters are known by the types of their configurations, not by names, which are free. One
that is not listed here is refused.
"""

from collections.abc import Iterator
from typing import NamedTuple

from beewire.mesh.sidecar.fields import Message, child, children, text
from beewire.mesh.sidecar.reasons import Reason, Refusal

_NETWORK = "envoy.extensions.filters.network."
_LISTENER = "envoy.extensions.filters.listener."
_TCP_PROXY = f"{_NETWORK}tcp_proxy.v3.TcpProxy"
_WRAPPED = ("xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct")

# They count, and tell the other side who they are where both speak mutual TLS: what they
# would count, Beewire does.
TELEMETRY = {
    "envoy.tcp.metadataexchange.config.MetadataExchange",
    "stats.PluginConfig",
}

_KINDS = {
    "http_connection_manager": (Reason.HTTP, "HTTP connection manager: it looks at requests"),
    "rbac": (Reason.POLICY, "RBAC: its rules decide who may connect"),
    "ext_authz": (Reason.POLICY, "external authorization: it is asked who may connect"),
    "ratelimit": (Reason.LIMIT, "rate limits of connections"),
    "local_ratelimit": (Reason.LIMIT, "rate limits of connections"),
    "connection_limit": (Reason.LIMIT, "a limit of connections"),
    "echo": (Reason.ELSEWHERE, "it answers itself"),
    "direct_response": (Reason.ELSEWHERE, "it answers itself"),
    "sni_cluster": (Reason.BALANCING, "the server name chooses the cluster"),
    "sni_dynamic_forward_proxy": (Reason.BALANCING, "the server name chooses the host"),
    "redis_proxy": (Reason.PROTOCOL, "it speaks Redis"),
    "mongo_proxy": (Reason.PROTOCOL, "it looks at MongoDB's messages"),
    "mysql_proxy": (Reason.PROTOCOL, "it looks at MySQL's messages"),
    "postgres_proxy": (Reason.PROTOCOL, "it looks at PostgreSQL's messages"),
    "kafka_broker": (Reason.PROTOCOL, "it looks at Kafka's messages"),
    "kafka_mesh": (Reason.PROTOCOL, "it looks at Kafka's messages"),
    "thrift_proxy": (Reason.PROTOCOL, "it speaks Thrift"),
    "dubbo_proxy": (Reason.PROTOCOL, "it speaks Dubbo"),
    "zookeeper_proxy": (Reason.PROTOCOL, "it looks at ZooKeeper's messages"),
    "generic_proxy": (Reason.PROTOCOL, "it speaks a protocol of its own"),
}  # fmt: skip

# What a tcp_proxy may say: nothing of it changes what becomes of a connection's bytes.
_PASSING = {"@type", "stat_prefix", "cluster", "idle_timeout", "max_connect_attempts"}
_MATTERING = {
    "weighted_clusters": (Reason.BALANCING, "several clusters share its connections"),
    "tunneling_config": (Reason.TUNNEL, "it travels inside of HTTP CONNECT"),
    "access_log": (Reason.LOG, "each connection is written to an access log"),
    "metadata_match": (Reason.BALANCING, "metadata chooses among endpoints"),
    "on_demand": (Reason.BALANCING, "its cluster is found when it is needed"),
    "max_downstream_connection_duration": (Reason.LIMIT, "connections may last so long only"),
    "access_log_options": (Reason.LOG, "each connection is written to an access log"),
}  # fmt: skip

_LOOKING = {
    f"{_LISTENER}original_dst.v3.OriginalDst",
    f"{_LISTENER}original_src.v3.OriginalSrc",
    f"{_LISTENER}tls_inspector.v3.TlsInspector",
    f"{_LISTENER}http_inspector.v3.HttpInspector",
}
# Of a listener: what is none of a connection's business, and what is judged elsewhere.
_HARMLESS = {
    "@type",
    "name",
    "address",
    "additional_addresses",
    "stat_prefix",
    "filter_chains",
    "default_filter_chain",
    "use_original_dst",
    "per_connection_buffer_limit_bytes",
    "metadata",
    "drain_type",
    "listener_filters",
    "listener_filters_timeout",
    "continue_on_listener_filters_timeout",
    "transparent",
    "freebind",
    "socket_options",
    "tcp_fast_open_queue_length",
    "traffic_direction",
    "connection_balance_config",
    "reuse_port",
    "enable_reuse_port",
    "tcp_backlog_size",
    "max_connections_to_accept_per_socket_event",
    "bind_to_port",
    "enable_mptcp",
    "ignore_global_conn_limit",
    "bypass_overload_manager",
    "deprecated_v1",
}


_CHAIN = {
    "name",
    "filter_chain_match",
    "filters",
    "metadata",
    "transport_socket",
    "transport_socket_connect_timeout",
}
_PROXY_PROTOCOL = "PROXY protocol: it reads who the client is"


class Passing(NamedTuple):
    """A chain that passes bytes on: its cluster, or why it does more than that."""

    cluster: str
    refusals: tuple[Refusal, ...]


def type_of(message: Message) -> str:
    """The type of a filter's configuration, without its prefix; "" where there is none."""
    config = child(message, "typed_config")
    found = text(config, "@type").rpartition("/")[2]
    if found in _WRAPPED:
        found = text(config, "type_url").rpartition("/")[2]
    return found


def passing(chain: Message, where: str) -> Passing:
    """What a filter chain does with the bytes of a connection."""
    found = list(_of_chain(chain, where))
    cluster = ""
    filters = children(chain, "filters")
    for each in filters:
        kind = type_of(each)
        if kind == _TCP_PROXY:
            cluster = text(child(each, "typed_config"), "cluster")
            found += _proxied(child(each, "typed_config"), where)
        elif kind not in TELEMETRY:
            found.append(_refused(each, kind, where))
    if not found and (not filters or type_of(filters[-1]) != _TCP_PROXY):
        found.append(
            Refusal(Reason.ELSEWHERE, "no tcp_proxy ends it: it leads nowhere", where)
        )
    if not found and not cluster:
        found.append(Refusal(Reason.BALANCING, "its tcp_proxy has no cluster", where))
    return Passing(cluster, tuple(found))


def _of_chain(chain: Message, where: str) -> Iterator[Refusal]:
    for field in sorted(set(chain) - _CHAIN):
        if field == "use_proxy_proto":
            yield Refusal(Reason.PROTOCOL, _PROXY_PROTOCOL, where)
        else:
            says = f"the filter chain has {field}, which is not known"
            yield Refusal(Reason.FILTER, says, where)


def _proxied(config: Message, where: str) -> Iterator[Refusal]:
    for field in sorted(set(config) - _PASSING):
        reason, says = _MATTERING.get(
            field, (Reason.FILTER, f"its tcp_proxy has {field}, which is not known")
        )
        yield Refusal(reason, says, where)


def _refused(message: Message, kind: str, where: str) -> Refusal:
    name = text(message, "name")
    short = kind.removeprefix(_NETWORK).partition(".")[0]
    if kind.startswith(_NETWORK) and short in _KINDS:
        return Refusal(*_KINDS[short], where)
    if "config_discovery" in message:
        return Refusal(Reason.FILTER, f"the filter {name} is pushed by itself", where)
    what = f" ({kind})" if kind else ""
    return Refusal(Reason.FILTER, f"the filter {name}{what} is not known", where)


def of_listener(message: Message, where: str) -> Iterator[Refusal]:
    """What a listener does with connections before a chain has them."""
    for each in children(message, "listener_filters"):
        kind = type_of(each)
        if kind in _LOOKING:
            continue
        if kind.startswith(f"{_LISTENER}proxy_protocol."):
            yield Refusal(Reason.PROTOCOL, _PROXY_PROTOCOL, where)
        elif kind.startswith(f"{_LISTENER}local_ratelimit."):
            yield Refusal(Reason.LIMIT, "rate limits of connections", where)
        else:
            says = f"the listener filter {text(each, 'name')} is not known"
            yield Refusal(Reason.FILTER, says, where)
    for field in sorted(set(message) - _HARMLESS):
        if field == "access_log":
            yield Refusal(Reason.LOG, _MATTERING["access_log"][1], where)
        else:
            says = f"the listener has {field}, which is not known"
            yield Refusal(Reason.FILTER, says, where)
