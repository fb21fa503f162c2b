"""SO_ORIGINAL_DST: getsockopt on the sidecar's cgroup, and on no other.

Runs after the kernel's own handler, which finds no conntrack entry and fails. What it did
answer stays where NAT has redirected the connection: iptables and Beewire may meet in one
pod. Where conntrack only watches, the answer is the socket's own address, and ours counts.
"""

from beewire.bpf import SockOpt, getsockopt, htons, netns_cookie, sizeof, u32
from beewire.mesh.programs.addresses import (
    AF_INET,
    AF_INET6,
    Endpoint,
    SockaddrIn,
    SockaddrIn6,
)
from beewire.mesh.programs.aliases import is_alias, meaning
from beewire.mesh.programs.shadow import compare_asked
from beewire.mesh.programs.state import ALLOW, arrived, pods

SO_ORIGINAL_DST = 80  # IP6T_SO_ORIGINAL_DST is the same number
SOL_IP = 0
SOL_IPV6 = 41
PAGE = 4096  # longer options are not copied for us; 0 says that we leave them alone


def is_redirected(ctx: SockOpt, port: u32) -> bool:
    """Whether a socket with this port was dialled in another's place.

    A reset takes a socket's port, so that 0 may be any; the other end of what was not
    redirected is then unknown.
    """
    if port == 0 or (pod := pods.lookup(netns_cookie(ctx))) is None:
        return True
    if pod.config == 0:
        return True
    return port in (pod.settings.outbound_port, pod.settings.inbound_port)


def redirected(ctx: SockOpt) -> Endpoint | None:
    """What the other end of a redirected connection dialled."""
    if is_alias(ctx.sk.src_ip4):
        return meaning(netns_cookie(ctx), ctx.sk.src_ip4)
    return arrived.get(ctx.sk)


def is_natted(ctx: SockOpt) -> bool:
    """Whether the kernel has answered, and with another address than the socket's own."""
    if ctx.retval != 0:
        return False
    if ctx.level == SOL_IP:
        if (told := ctx.at(0, SockaddrIn)) is None:
            return False
        return told.addr != ctx.sk.src_ip4 or told.port != htons(ctx.sk.src_port)
    if (told6 := ctx.at(0, SockaddrIn6)) is None:
        return False
    return (
        told6.port != htons(ctx.sk.src_port)
        or told6.addr[0] != ctx.sk.src_ip6[0]
        or told6.addr[1] != ctx.sk.src_ip6[1]
        or told6.addr[2] != ctx.sk.src_ip6[2]
        or told6.addr[3] != ctx.sk.src_ip6[3]
    )


def answer4(ctx: SockOpt) -> None:
    """Fill in `struct sockaddr_in`."""
    if (out := ctx.at(0, SockaddrIn)) is None:
        return
    port = htons(ctx.sk.src_port)
    if is_redirected(ctx, port):
        if (wanted := redirected(ctx)) is None:
            return
        out.addr = wanted.address.words[3]
        out.port = wanted.port
    else:  # captured by sk_lookup: its own address is what the client dialled
        out.addr = ctx.sk.src_ip4
        out.port = port
    out.family = AF_INET
    out.zero = 0
    ctx.optlen = sizeof(SockaddrIn)
    ctx.retval = 0


def answer6(ctx: SockOpt) -> None:
    """Fill in `struct sockaddr_in6`."""
    if (out := ctx.at(0, SockaddrIn6)) is None:
        return
    port = htons(ctx.sk.src_port)
    if is_redirected(ctx, port):
        if (wanted := redirected(ctx)) is None:  # v4-mapped ones have aliases
            return
        out.addr[0] = wanted.address.words[0]
        out.addr[1] = wanted.address.words[1]
        out.addr[2] = wanted.address.words[2]
        out.addr[3] = wanted.address.words[3]
        out.port = wanted.port
    else:
        out.addr[0] = ctx.sk.src_ip6[0]
        out.addr[1] = ctx.sk.src_ip6[1]
        out.addr[2] = ctx.sk.src_ip6[2]
        out.addr[3] = ctx.sk.src_ip6[3]
        out.port = port
    out.family = AF_INET6
    out.flowinfo = 0
    out.scope = 0
    ctx.optlen = sizeof(SockaddrIn6)
    ctx.retval = 0


@getsockopt
def original_destination(ctx: SockOpt) -> int:
    """Tell the sidecar where a captured connection was going."""
    if ctx.optlen > PAGE:
        ctx.optlen = 0
        return ALLOW
    if ctx.optname != SO_ORIGINAL_DST or ctx.level not in (SOL_IP, SOL_IPV6):
        return ALLOW
    if is_natted(ctx):
        compare_asked(ctx)
        return ALLOW
    if ctx.level == SOL_IP:
        answer4(ctx)
    else:
        answer6(ctx)
    return ALLOW
