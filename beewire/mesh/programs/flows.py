"""A connect() as the decision sees it: addresses, owner, interface."""

from beewire.bpf import (
    Kernel,
    SockAddr,
    embedded,
    helpers,
    kernel_ptr,
    u32,
    u64,
)
from beewire.mesh.programs.addresses import MAPPED
from beewire.mesh.programs.decision import Flow
from beewire.mesh.programs.lists import LIST_BITS
from beewire.mesh.programs.routes import interface_to
from beewire.mesh.programs.sockets import (
    ANY,
    LOCALHOST4,
    LOCALHOST6,
    is_loopback4,
    is_loopback6,
    is_own,
    is_sidecar,
)
from beewire.mesh.programs.state import ConfigFlag, Listed, PodState

# A configuration that asks who owns the socket.
BY_OWNER = (
    ConfigFlag.BY_OWNER
    | ConfigFlag.ONLY_GROUPS
    | 1 << (LIST_BITS + Listed.EXCLUDED_GROUPS)
)


class kuid_t(Kernel):
    """`kuid_t`, and `kgid_t`, which is the same."""

    val: u32


class kgid_t(Kernel):
    """`kgid_t`."""

    val: u32


class cred(Kernel):
    """`struct cred`."""

    fsuid: kuid_t = embedded()
    fsgid: kgid_t = embedded()


class file(Kernel):
    """`struct file`."""

    f_cred: cred


class socket(Kernel):
    """`struct socket`."""

    file: file


class sock(Kernel):
    """`struct sock`."""

    sk_socket: socket


def meant(ip: u32, source: u32) -> u32:
    """What connect(2) takes an IPv4 address for: 0.0.0.0 is the socket's own, or localhost.

    ip_route_output_key_hash_rcu(); IPv6 takes :: for ::1, whatever the socket is bound to.
    """
    if ip != ANY:
        return ip
    return source if source != ANY else LOCALHOST4


def dial4(flow: Flow, ctx: SockAddr) -> None:
    """Where an AF_INET socket calls, and from where."""
    flow.port = ctx.user_port
    flow.source.words[2] = MAPPED
    flow.source.words[3] = ctx.sk.src_ip4
    flow.destination.words[2] = MAPPED
    flow.destination.words[3] = meant(ctx.user_ip4, ctx.sk.src_ip4)


def dial6(flow: Flow, ctx: SockAddr) -> None:
    """Where an AF_INET6 socket calls; `::ffff:a.b.c.d` is IPv4."""
    flow.port = ctx.user_port
    flow.destination.words[0] = ctx.user_ip6[0]
    flow.destination.words[1] = ctx.user_ip6[1]
    flow.destination.words[2] = ctx.user_ip6[2]
    flow.destination.words[3] = ctx.user_ip6[3]
    if flow.destination.words[0] | flow.destination.words[1] == 0:
        if flow.destination.words[2] == MAPPED:
            flow.source.words[2] = MAPPED
            flow.source.words[3] = ctx.sk.src_ip6[3]
            flow.destination.words[3] = meant(ctx.user_ip6[3], ctx.sk.src_ip6[3])
            return
        if flow.destination.words[2] | flow.destination.words[3] == ANY:
            if ctx.sk.src_ip6[2] == MAPPED:  # bound to IPv4: :: is 127.0.0.1 then
                flow.source.words[2] = MAPPED
                flow.source.words[3] = ctx.sk.src_ip6[3]
                flow.destination.words[2] = MAPPED
                flow.destination.words[3] = LOCALHOST4
                return
            flow.destination.words[3] = LOCALHOST6
    flow.ipv6 = 1
    flow.source.words[0] = ctx.sk.src_ip6[0]
    flow.source.words[1] = ctx.sk.src_ip6[1]
    flow.source.words[2] = ctx.sk.src_ip6[2]
    flow.source.words[3] = ctx.sk.src_ip6[3]


def is_local(netns: u64, pod: PodState, flow: Flow) -> bool:
    """Whether a connection stays in the pod: it goes by the loopback interface."""
    if flow.ipv6 != 0:
        if is_loopback6(flow.destination):
            return True
    elif is_loopback4(flow.destination.words[3]):
        return True
    return is_own(netns, pod, flow.destination)


def own(flow: Flow, ctx: SockAddr) -> None:
    """Who owns the socket: whoever made it, as iptables sees it, not who connects it."""
    if (tcp := helpers.skc_to_tcp_sock(ctx.sk)) is not None:
        owner = kernel_ptr(tcp, sock).sk_socket.file.f_cred
        flow.uid = owner.fsuid.val
        flow.gid = owner.fsgid.val
        return
    other = kernel_ptr(ctx.sk, sock).sk_socket.file.f_cred
    flow.uid = other.fsuid.val
    flow.gid = other.fsgid.val


def complete(flow: Flow, ctx: SockAddr, pod: PodState, netns: u64) -> None:
    """What the decision has to know besides addresses."""
    flow.owner = pod.config
    flow.scope = pod.scope
    flow.scope_flags = pod.flags
    flow.local = is_local(netns, pod, flow)
    flow.in_proxy = is_sidecar(pod)
    flow.interface = interface_to(ctx, pod, flow.destination)
    if pod.settings.flags & BY_OWNER != 0:
        own(flow, ctx)
    if pod.settings.flags & ConfigFlag.MODE_TPROXY != 0:
        flow.mark = ctx.sk.mark
