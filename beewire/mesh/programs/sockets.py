"""What the hooks of sockets ask and do: who calls, whether it goes out, what it keeps."""

from beewire.bpf import SockAddr, ancestor_cgroup_id, htonl, ip4, u32, u64
from beewire.mesh.programs.addresses import (
    LOOPBACK_NET,
    NET8,
    Address,
    Endpoint,
)
from beewire.mesh.programs.state import PodAddress, PodState, addresses, dialled

ENVOY_INBOUND6 = htonl(6)  # the last word of ::6
LOCALHOST4 = ip4("127.0.0.1")
ANY = 0  # connect(2) takes 0.0.0.0 and :: for localhost
LOCALHOST6 = htonl(1)


def is_sidecar(pod: PodState) -> bool:
    """Whether the caller runs in the sidecar's cgroup or below it."""
    return ancestor_cgroup_id(pod.proxy_level) == pod.proxy_cgroup


def is_own(netns: u64, wanted: Endpoint) -> bool:
    """Whether an address is one of the pod's."""
    return PodAddress(netns=netns, address=wanted.address) in addresses


def is_loopback4(ip: u32) -> bool:
    """Whether connect(2) takes an IPv4 address for this machine."""
    return ip & NET8 == LOOPBACK_NET or ip == ANY


def is_loopback6(address: Address) -> bool:
    """Whether an IPv6 address is `::1`, or is taken for it, or is the sidecar's `::6`."""
    if address.words[0] | address.words[1] | address.words[2] != 0:
        return False
    return address.words[3] in (LOCALHOST6, ANY, ENVOY_INBOUND6)


def remember(ctx: SockAddr, wanted: Endpoint, target: u32, port: u32) -> bool:
    """Keep in the socket what was dialled and what it was rewritten to."""
    if (state := dialled.get_or_create(ctx.sk)) is None:
        return False
    state.wanted = wanted
    state.target = target
    state.target_port = port
    return True
