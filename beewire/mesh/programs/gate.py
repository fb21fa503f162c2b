"""The gates: what keeps a pod closed until it is configured.

The first stands in the pod's network namespace, from CNI ADD on, when nobody knows yet
which cgroup the pod will be: netfilter programs see all IP packets of every interface,
tc programs all frames of those that are there, packet sockets' too. The second stands at
the pod's cgroup. Both are open to what stays inside, over loopback, and to what neighbours
find each other with: ARP, and IPv6's neighbour discovery as far as it is the kernel's own.

Where a gate's links are, it is closed; it looks nothing up. Open means gone: a configured
pod pays nothing. Links of tc take the kernel some 10 ms each to take away (it waits for
all CPUs, RCU), so that they are first given a program that lets everything through.
"""

from beewire.bpf import (
    Const,
    Kernel,
    Netfilter,
    SkBuff,
    cgroup_skb_egress,
    cgroup_skb_ingress,
    helpers,
    htons,
    kernel_ptr,
    netfilter,
    netns_cookie,
    pointer,
    sizeof,
    subprogram,
    tc,
    u8,
    u64,
)
from beewire.mesh.programs.events import Matter, Reason, report
from beewire.mesh.programs.packets import (
    IPV6_HEADER,
    Icmp,
    Ipv4,
    Ipv6,
    Ports,
    describe4,
    describe6,
    describe_ports,
    has_ports,
    is_neighbourly,
    net_device,
    sk_buff,
)
from beewire.mesh.programs.task import net, own_namespace

DROP, ACCEPT = 0, 1  # of netfilter and of cgroups
TC_ACT_SHOT, TC_ACT_UNSPEC = 2, -1  # the latter: what comes next decides
LOCAL_OUT = 3  # NF_INET_LOCAL_OUT
IFF_LOOPBACK = 8
LOOPBACK = 1  # the interface's index, in every namespace
AF_INET6 = 10
AF_PACKET = 17
FROM_IP = 1  # BPF_HDR_START_NET: offsets count from the IP header
IPV4 = htons(0x0800)
ARP = htons(0x0806)
IPV6 = htons(0x86DD)

# Which pod a copy of a program is for. Frames do not tell their namespace (what a packet
# socket sends is of the process that runs), and packets of cgroups do since Linux 6.15:
# before, or without netfilter, each pod has copies of its own.
namespace = Const(u64)


class nf_hook_state(Kernel):
    """`struct nf_hook_state`."""

    hook: u8
    pf: u8
    out: net_device
    net: net


class socket(Kernel):
    """`struct socket`."""

    file: int = pointer()


class sock(Kernel):
    """`struct sock`."""

    sk_socket: socket


def is_kernels(skb: sk_buff) -> bool:
    """Whether the kernel itself sends a packet: no process holds its socket."""
    return kernel_ptr(skb.sk, sock).sk_socket.file == 0


@subprogram
def passes6(skb: sk_buff, flow: Matter) -> bool:
    """Tell an IPv6 packet of netfilter; whether it is one of neighbour discovery."""
    header = Ipv6()
    ports = Ports()
    first = Icmp()
    start = skb.head + skb.network_header
    helpers.probe_read_kernel(header, sizeof(Ipv6), start)
    describe6(flow, header)
    if has_ports(header.next):
        helpers.probe_read_kernel(ports, sizeof(Ports), start + IPV6_HEADER)
        describe_ports(flow, ports)
    helpers.probe_read_kernel(first, sizeof(Icmp), start + IPV6_HEADER)
    return is_neighbourly(header, first) and is_kernels(skb)


@subprogram
def tell4(skb: sk_buff, flow: Matter) -> None:
    """Tell an IPv4 packet of netfilter."""
    header = Ipv4()
    ports = Ports()
    start = skb.head + skb.network_header
    helpers.probe_read_kernel(header, sizeof(Ipv4), start)
    describe4(flow, header)
    if has_ports(header.protocol):
        words = header.words & 15
        helpers.probe_read_kernel(ports, sizeof(Ports), start + words * 4)
        describe_ports(flow, ports)


@netfilter
def packets(ctx: Netfilter) -> int:
    """All IP packets of a namespace, at its hooks input, forward and output."""
    state = kernel_ptr(ctx.state, nf_hook_state)
    skb = kernel_ptr(ctx.skb, sk_buff)
    leaves = state.hook == LOCAL_OUT
    flags = state.out.flags if leaves else skb.dev.flags
    if flags & IFF_LOOPBACK != 0:
        return ACCEPT
    flow = Matter()
    if state.pf == AF_INET6:
        if passes6(skb, flow):
            return ACCEPT
    else:
        tell4(skb, flow)
    pod = state.net.net_cookie
    if leaves:
        flow.is_own = own_namespace() == pod
    else:
        flow.inbound = 1
    report(pod, Reason.NAMESPACE_CLOSED, flow)
    return DROP


@subprogram
def tell(ctx: SkBuff, flow: Matter) -> bool:
    """Tell a packet; whether it is one of neighbour discovery."""
    ports = Ports()
    if ctx.protocol == IPV6:
        header6 = Ipv6()
        if helpers.skb_load_bytes_relative(ctx, 0, header6, sizeof(Ipv6), FROM_IP) != 0:
            return False
        describe6(flow, header6)
        if (
            has_ports(header6.next)
            and helpers.skb_load_bytes_relative(
                ctx, IPV6_HEADER, ports, sizeof(Ports), FROM_IP
            )
            == 0
        ):
            describe_ports(flow, ports)
        first = Icmp()
        if (
            helpers.skb_load_bytes_relative(
                ctx, IPV6_HEADER, first, sizeof(Icmp), FROM_IP
            )
            != 0
        ):
            return False
        return is_neighbourly(header6, first)
    header = Ipv4()
    if (
        ctx.protocol != IPV4
        or helpers.skb_load_bytes_relative(ctx, 0, header, sizeof(Ipv4), FROM_IP) != 0
    ):
        return False
    describe4(flow, header)
    words = header.words & 15
    if (
        has_ports(header.protocol)
        and helpers.skb_load_bytes_relative(
            ctx, words * 4, ports, sizeof(Ports), FROM_IP
        )
        == 0
    ):
        describe_ports(flow, ports)
    return False


def is_processs(ctx: SkBuff) -> bool:
    """Whether a process made the frame, by a packet socket."""
    return (sk := ctx.sk) is not None and sk.family == AF_PACKET


def decide_frame(ctx: SkBuff, *, inbound: bool) -> int:
    """What becomes of a frame."""
    flow = Matter()
    is_made = is_processs(ctx)
    if ctx.protocol == ARP and not is_made:
        return TC_ACT_UNSPEC
    if tell(ctx, flow) and not is_made:
        return TC_ACT_UNSPEC
    pod = namespace.value
    if inbound:
        flow.inbound = 1
    else:
        own = own_namespace()
        if pod == 0:
            pod = own
        flow.is_own = own == pod
    report(pod, Reason.NAMESPACE_CLOSED, flow)
    return TC_ACT_SHOT


@tc
def frames_out(ctx: SkBuff) -> int:
    """Frames that an interface of the namespace sends."""
    return decide_frame(ctx, inbound=False)


@tc
def frames_in(ctx: SkBuff) -> int:
    """Frames that an interface of the namespace receives."""
    return decide_frame(ctx, inbound=True)


@tc
def frames_pass(ctx: SkBuff) -> int:
    """What takes the place of the two when a gate opens."""
    return TC_ACT_UNSPEC


def pod_of(ctx: SkBuff) -> u64:
    """The pod that a packet of a cgroup is of."""
    pod = namespace.value
    return netns_cookie(ctx) if pod == 0 else pod


@cgroup_skb_egress
def pod_out(ctx: SkBuff) -> int:
    """Packets that the sockets of a closed pod send: raw, ICMP, and of older sockets."""
    if ctx.ifindex == LOOPBACK:
        return ACCEPT
    flow = Matter()
    tell(ctx, flow)
    pod = pod_of(ctx)
    flow.is_own = own_namespace() == pod
    report(pod, Reason.POD_CLOSED, flow)
    return DROP


@cgroup_skb_ingress
def pod_in(ctx: SkBuff) -> int:
    """Packets to the sockets of a closed pod."""
    if ctx.ifindex == LOOPBACK:
        return ACCEPT
    flow = Matter(inbound=1)
    tell(ctx, flow)
    report(pod_of(ctx), Reason.POD_CLOSED, flow)
    return DROP
