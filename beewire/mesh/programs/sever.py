"""Sever: end what a pod's processes connected before there were hooks to capture it.

A gate drops the packets of such a socket, and the socket sends them again: opened, they
would go past the sidecar. Iterators, run inside the pod's network namespace.
"""

from beewire.bpf import (
    Global,
    Kernel,
    Struct,
    array,
    bpf_iter_meta,
    embedded,
    helpers,
    i32,
    iter,  # noqa: A004 - the decorator
    kernel_ptr,
    kfunc,
    seq_write,
    u8,
    u16,
    u32,
    u64,
)
from beewire.mesh.programs.addresses import AF_INET, LOOPBACK_NET, MAPPED, NET8, Address
from beewire.mesh.programs.packets import TCP, UDP, net_device

LISTEN = 10  # TCP_LISTEN
IFF_LOOPBACK = 8


class in6_addr(Kernel):
    """`struct in6_addr`, whose first member is the address."""

    in6_u: "in6_words" = embedded()


class in6_words(Kernel, union=True):
    """The union in it."""

    u6_addr32: list[u32] = array(u32, 4)


class sock_common(Kernel):
    """`struct sock_common`."""

    skc_family: u16
    skc_state: u8
    skc_num: u16
    skc_dport: u16
    skc_daddr: u32
    skc_v6_daddr: in6_addr = embedded()


class dst_entry(Kernel):
    """`struct dst_entry`."""

    dev: net_device


class kernfs_node(Kernel):
    """`struct kernfs_node`."""

    id: u64


class cgroup(Kernel):
    """`struct cgroup`."""

    kn: kernfs_node


class sock_cgroup_data(Kernel):
    """`struct sock_cgroup_data`."""

    cgroup: cgroup


class sock(Kernel):
    """`struct sock`."""

    sk_dst_cache: dst_entry
    sk_cgrp_data: sock_cgroup_data = embedded()


class udp_sock(Kernel):
    """`struct udp_sock`."""


class Severed(Struct):
    """A connection that was ended. Ports: ours in host order, the peer's in network's."""

    peer: Address
    port: u16
    own_port: u16
    protocol: u32


@kfunc
def bpf_sock_destroy(sock: sock_common) -> i32:  # type: ignore[empty-body]
    """End a socket: 0, or a negative error (Linux 6.5)."""


spared = Global(u64)  # the id of a cgroup whose sockets stay: the sidecar's


def goes_out(sk: sock_common, whole: sock) -> bool:
    """Whether a socket has a peer that is not of this namespace."""
    if sk.skc_dport == 0:
        return False
    if whole.sk_cgrp_data.cgroup.kn.id == spared.value:
        return False
    # The route that it took: to any of the namespace's own addresses it is loopback.
    if whole.sk_dst_cache.dev.flags & IFF_LOOPBACK != 0:
        return False
    return sk.skc_family != AF_INET or sk.skc_daddr & NET8 != LOOPBACK_NET


def row_of(sk: sock_common, protocol: u32) -> Severed:
    """What is told of a socket."""
    row = Severed(
        peer=Address(), port=sk.skc_dport, own_port=sk.skc_num, protocol=protocol
    )
    if sk.skc_family == AF_INET:
        row.peer.words[2] = MAPPED
        row.peer.words[3] = sk.skc_daddr
    else:
        row.peer.words = sk.skc_v6_daddr.in6_u.u6_addr32
    return row


@iter("tcp")
def sever_tcp(meta: bpf_iter_meta, sk: sock_common | None) -> None:
    """Connections, and attempts at one."""
    if sk is None or sk.skc_state == LISTEN:
        return
    # None of those that wait for their end, or are no sockets yet.
    if (whole := helpers.skc_to_tcp_sock(sk)) is None:  # type: ignore[arg-type]
        return
    if not goes_out(sk, kernel_ptr(whole, sock)):
        return
    row = row_of(sk, TCP)
    if bpf_sock_destroy(sk) == 0:
        seq_write(meta.seq, row)


@iter("udp")
def sever_udp(meta: bpf_iter_meta, sk: udp_sock | None) -> None:
    """Connected datagram sockets."""
    if sk is None:
        return
    common = kernel_ptr(sk, sock_common)
    if not goes_out(common, kernel_ptr(sk, sock)):
        return
    row = row_of(common, UDP)
    if bpf_sock_destroy(common) == 0:
        seq_write(meta.seq, row)
