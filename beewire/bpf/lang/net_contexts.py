"""What the rarer networking and cgroup hooks pass."""

from beewire.bpf.lang.contexts import (
    Context,
    KernelMember,
    MaybeSocket,
    PacketContext,
    Readable,
    Record,
    Socket,
    Writable,
)
from beewire.bpf.lang.socket_contexts import (
    SkBuff,
)
from beewire.bpf.lang.structs import Struct
from beewire.bpf.lang.types import array, u8, u16, u32


class Sysctl(Context):
    """`struct bpf_sysctl`: a read (`write` is 0) or write of a file below /proc/sys.

    The file's name and values are had from `helpers.sysctl_get_name` and its kin.
    """

    struct_name = "bpf_sysctl"
    write = Readable(0)
    file_pos = Writable(4)


class DeviceAccess(Context):
    """`struct bpf_cgroup_dev_ctx`: an access to a device node.

    `access_type` holds the type in its low 16 bits (1 block, 2 char), and above what is
    done (1 mknod, 2 read, 4 write).
    """

    struct_name = "bpf_cgroup_dev_ctx"
    access_type = Readable(0)
    major = Readable(4)
    minor = Readable(8)


class SkReuseport(PacketContext):
    """`struct sk_reuseport_md`: a packet for a group of SO_REUSEPORT sockets.

    `at` reaches into the packet from its transport header on. `migrating_sk` is the
    socket whose connection moves (`@sk_reuseport_migrate`), or None.
    """

    struct_name = "sk_reuseport_md"
    window = (0, 8, 8)
    length = Readable(16)
    eth_protocol = Readable(20)
    ip_protocol = Readable(24)
    bind_inany = Readable(28)
    hash = Readable(32)
    sk = Socket(40)
    migrating_sk = MaybeSocket(48)


class FlowKeys(Struct):
    """`struct bpf_flow_keys`: what a flow dissector fills in.

    `n_proto`, the ports and the addresses are in network order. The addresses are
    `addresses[0]` and `[1]` of IPv4, or four words each of IPv6.
    """

    nhoff: u16
    thoff: u16
    addr_proto: u16
    is_frag: u8
    is_first_frag: u8
    is_encap: u8
    ip_proto: u8
    n_proto: u16
    sport: u16
    dport: u16
    addresses: list[u32] = array(u32, 8)
    flags: u32
    flow_label: u32


class FlowDissector(PacketContext):
    """`struct __sk_buff` as flow dissectors see it: the packet, and the keys to fill."""

    struct_name = "__sk_buff"
    window = (76, 80, 4)
    flow_keys = Record(144, FlowKeys)


class Netfilter(Context):
    """`struct bpf_nf_ctx`: a packet at a netfilter hook.

    Give the pointers a class of yours: `kernel_ptr(ctx.skb, sk_buff).len`.
    """

    struct_name = "bpf_nf_ctx"
    state = KernelMember(0, "nf_hook_state")
    skb = KernelMember(8, "sk_buff")


class LircSample(Context):
    """What an infrared receiver saw: a pulse, a space or an event, in microseconds."""

    struct_name = ""
    sample = Readable(0)


class SocketFilter(SkBuff):
    """`struct __sk_buff` as socket filters see it: no direct access to the packet."""


__all__ = [
    "DeviceAccess",
    "FlowDissector",
    "FlowKeys",
    "LircSample",
    "Netfilter",
    "SkReuseport",
    "SocketFilter",
    "Sysctl",
]
