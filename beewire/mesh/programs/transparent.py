"""TPROXY: the sidecar calls its application from the client's own address.

Envoy's original_src filter binds to it, and marks its sockets. Istio's rules know such a
packet by its mark when it comes back over lo; sk_lookup is told no mark, and would take
it for the client's. So each call is written down before its SYN, for as long as it lives.
"""

from beewire.bpf import (
    HashMap,
    SkLookup,
    SockOps,
    SockOpsFlag,
    htons,
    netns_cookie,
    ntohl,
    sock_ops_cb_flags_set,
    u32,
    u64,
)
from beewire.mesh.programs.addresses import AF_INET6, MAPPED
from beewire.mesh.programs.decision import Flow
from beewire.mesh.programs.state import (
    NO_PREALLOC,
    ConfigFlag,
    Handshake,
    PodState,
    pods,
)
from beewire.mesh.programs.task import runs_in_sidecar

MAX_CALLS = 1 << 18

own_calls = HashMap[Handshake, u32](max_entries=MAX_CALLS, flags=NO_PREALLOC)


def name_by_client(key: Handshake, ctx: SockOps) -> None:
    """Name a connection from the end that dialled."""
    key.netns = netns_cookie(ctx)
    key.source_port = ctx.local_port
    key.target_port = ntohl(ctx.remote_port)
    if ctx.family == AF_INET6 and ctx.remote_ip6[2] != MAPPED:
        key.source.words[0] = ctx.local_ip6[0]
        key.source.words[1] = ctx.local_ip6[1]
        key.source.words[2] = ctx.local_ip6[2]
        key.source.words[3] = ctx.local_ip6[3]
        key.target = ctx.remote_ip6[3]
    else:
        key.source.words[2] = MAPPED
        key.source.words[3] = ctx.local_ip4
        key.target = ctx.remote_ip4


def is_marked(pod: PodState, mark: u32) -> bool:
    """Whether the mark is the one by which a sidecar under TPROXY calls."""
    if pod.settings.flags & ConfigFlag.MODE_TPROXY == 0:
        return False
    return mark == pod.settings.proxy_mark


def write_down(ctx: SockOps, mark: u32) -> None:
    """Before the SYN: of a socket that has a mark."""
    if (pod := pods.lookup(netns_cookie(ctx))) is None or not is_marked(pod, mark):
        return
    if pod.settings.flags & ConfigFlag.BY_OWNER == 0 and not runs_in_sidecar(pod):
        return
    key = Handshake()
    name_by_client(key, ctx)
    own_calls[key] = mark
    sock_ops_cb_flags_set(ctx, ctx.bpf_sock_ops_cb_flags | SockOpsFlag.STATE_CB)


def is_own_call(ctx: SkLookup, netns: u64, pod: PodState, flow: Flow) -> bool:
    """Whether a connection comes from the sidecar, in the name of its client."""
    if pod.settings.flags & ConfigFlag.MODE_TPROXY == 0:
        return False
    key = Handshake(netns=netns)
    key.source = flow.source
    key.target = flow.destination.words[3]
    key.source_port = htons(ctx.remote_port)
    key.target_port = ctx.local_port
    return key in own_calls
