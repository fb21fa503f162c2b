"""The configuration that Envoy reads, made from one typed description.

`SidecarConfig` says what istiod would know: the ports of the mesh's pods, Services, how
traffic is intercepted. `bootstrap` makes of it the listeners and clusters that istiod
pushes to a sidecar, and those of pilot-agent's bootstrap, under Istio's names:

    virtualOutbound  15001   use_original_dst: to the listener of what was dialled
      0.0.0.0_80             one a port or Service, bound to no port of its own
      virtualOutbound-blackhole, virtualOutbound-catchall-tcp
    virtualInbound   15006   a filter chain a port, catch-all ones for the others
    15021, 15090             readiness, statistics; 15020 and DNS are pilot-agent's

Mutual TLS is off, as PeerAuthentication's mode DISABLE has it. HTTP responses are stamped
`x-bw-outbound` or `x-bw-inbound` with the pod's name. HTTP is otherwise left as lean as
Envoy can be (no request ids, no access log), so that a comparison shows interception.
Statistics and timers are Istio's. The trace port alone logs, and names the client.
"""

from beewire.mesh.lab.clusters import all_clusters
from beewire.mesh.lab.description import SidecarConfig
from beewire.mesh.lab.listeners import all_listeners
from beewire.mesh.lab.messages import Message, address, named
from beewire.mesh.lab.pushing import Resources

# What a sidecar counts unless its owner asks for more (Istio's pkg/bootstrap/config.go:
# requiredEnvoyStatsMatcherInclusion...). Envoy alone would keep hundreds of counters.
STATS_BEGIN = ("cluster_manager", "listener_manager", "server")
SOCKMAP = "envoy.extensions.network.socket_interface.sockmap"
STATS_END = ("downstream_cx_active",)


def resources(config: SidecarConfig) -> Resources:
    """The listeners and clusters of a sidecar."""
    return Resources(all_listeners(config), all_clusters(config))


def bootstrap(config: SidecarConfig, pushed: Message | None = None) -> Message:
    """Return Envoy's bootstrap configuration.

    `pushed` says where its listeners and clusters are; without, they are part of it.
    """
    begin: list[Message] = [{"prefix": name} for name in STATS_BEGIN]
    kept = begin + [{"suffix": name} for name in STATS_END]
    return {
        "node": {"id": f"sidecar~{config.pod}", "cluster": config.pod or "lab"},
        "admin": {"address": address("127.0.0.1", config.admin_port)},
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": kept}}},
        **_sockets(config),
        **(pushed or {"static_resources": resources(config)._asdict()}),
    }


def _sockets(config: SidecarConfig) -> Message:
    if config.socket_map is None:
        return {}
    interface = named(
        SOCKMAP,
        f"type.googleapis.com/{SOCKMAP}.v3.Sockmap",
        bpf_program_path=config.socket_map.program,
        cgroup_path=str(config.socket_map.cgroup),
    )
    return {"bootstrap_extensions": [interface], "default_socket_interface": SOCKMAP}
