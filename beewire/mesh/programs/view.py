"""The application's view: getpeername() shows what it dialled, not the sidecar."""

from beewire.bpf import SockAddr, getpeername4, getpeername6, netns_cookie, u32
from beewire.mesh.programs.addresses import MAPPED, Endpoint
from beewire.mesh.programs.aliases import is_alias, meaning
from beewire.mesh.programs.state import ALLOW, dialled, pods


def named_by_alias(ctx: SockAddr, ip: u32, port: u32) -> Endpoint | None:
    """The destination that an IPv4 peer stands for."""
    if not is_alias(ip):
        return None
    netns = netns_cookie(ctx)
    if (pod := pods.lookup(netns)) is None:
        return None
    if pod.config == 0:
        return None
    if port not in (
        pod.settings.outbound_port,
        pod.settings.inbound_port,
        pod.settings.dns_port,
    ):
        return None
    return meaning(netns, ip)


@getpeername4
def peer4(ctx: SockAddr) -> int:
    """AF_INET sockets."""
    if (wanted := named_by_alias(ctx, ctx.user_ip4, ctx.user_port)) is not None:
        ctx.user_ip4 = wanted.address.words[3]
        ctx.user_port = wanted.port
        return ALLOW
    if (state := dialled.get(ctx.sk)) is None:
        return ALLOW
    if ctx.user_ip4 == state.target and ctx.user_port == state.target_port:
        ctx.user_ip4 = state.wanted.address.words[3]
        ctx.user_port = state.wanted.port
    return ALLOW


@getpeername6
def peer6(ctx: SockAddr) -> int:
    """AF_INET6 sockets, v4-mapped ones included."""
    if ctx.user_ip6[2] == MAPPED and (
        wanted := named_by_alias(ctx, ctx.user_ip6[3], ctx.user_port)
    ):
        ctx.user_ip6[3] = wanted.address.words[3]
        ctx.user_port = wanted.port
        return ALLOW
    if (state := dialled.get(ctx.sk)) is None:
        return ALLOW
    if ctx.user_ip6[3] == state.target and ctx.user_port == state.target_port:
        ctx.user_ip6[0] = state.wanted.address.words[0]
        ctx.user_ip6[1] = state.wanted.address.words[1]
        ctx.user_ip6[2] = state.wanted.address.words[2]
        ctx.user_ip6[3] = state.wanted.address.words[3]
        ctx.user_port = state.wanted.port
    return ALLOW
