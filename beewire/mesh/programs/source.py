"""The source of a redirected connection: the address that the network would have seen.

A socket that its owner has bound keeps what it was bound to, and one that calls a loopback
address gets the one that the kernel gives it.
"""

from beewire.bpf import SockAddr, bind
from beewire.mesh.programs.addresses import (
    AF_INET,
    AF_INET6,
    MAPPED,
    SockaddrIn,
    SockaddrIn6,
)
from beewire.mesh.programs.decision import Flow
from beewire.mesh.programs.routes import source_of
from beewire.mesh.programs.sockets import is_loopback4, is_loopback6
from beewire.mesh.programs.state import PodState


def keep_source4(ctx: SockAddr, pod: PodState, flow: Flow) -> bool:
    """Bind an AF_INET socket; whether that could be done."""
    if ctx.sk.src_ip4 != 0 or ctx.sk.src_port != 0:
        return True
    if is_loopback4(flow.destination.words[3]):
        return True
    source = SockaddrIn(family=AF_INET, addr=pod.source4)
    if (own := source_of(pod, AF_INET, flow.interface)) is not None:
        source.addr = own.words[3]
    return bind(ctx, source) == 0


def keep_source_mapped(ctx: SockAddr, pod: PodState, flow: Flow) -> bool:
    """As `keep_source4`, for an AF_INET6 socket that calls an IPv4 address."""
    if ctx.sk.src_ip6[3] != 0 or ctx.sk.src_port != 0:
        return True
    if is_loopback4(flow.destination.words[3]):
        return True
    source = SockaddrIn6(family=AF_INET6)
    source.addr[2] = MAPPED
    source.addr[3] = pod.source4
    if (own := source_of(pod, AF_INET, flow.interface)) is not None:
        source.addr[3] = own.words[3]
    return bind(ctx, source) == 0


def keep_source6(ctx: SockAddr, pod: PodState, flow: Flow) -> bool:
    """As `keep_source4`, for IPv6."""
    if ctx.sk.src_ip6[3] != 0 or ctx.sk.src_port != 0 or is_loopback6(flow.destination):
        return True
    source = SockaddrIn6(family=AF_INET6)
    if (own := source_of(pod, AF_INET6, flow.interface)) is not None:
        source.addr[0] = own.words[0]
        source.addr[1] = own.words[1]
        source.addr[2] = own.words[2]
        source.addr[3] = own.words[3]
    else:
        source.addr[0] = pod.source6.words[0]
        source.addr[1] = pod.source6.words[1]
        source.addr[2] = pod.source6.words[2]
        source.addr[3] = pod.source6.words[3]
    return bind(ctx, source) == 0
