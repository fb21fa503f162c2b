"""What the hooks of sockets ask: who calls, and whether it goes out."""

from beewire.bpf import ancestor_cgroup_id, htonl, ip4, u32, u64
from beewire.mesh.programs.addresses import LOOPBACK_NET, NET8, Address
from beewire.mesh.programs.state import PodAddress, PodState, addresses

ENVOY_INBOUND6 = htonl(6)  # the last word of ::6
LOCALHOST4 = ip4("127.0.0.1")
ANY = 0  # connect(2) takes 0.0.0.0 and :: for localhost
LOCALHOST6 = htonl(1)


def is_sidecar(pod: PodState) -> bool:
    """Whether the caller runs in the sidecar's cgroup or below it."""
    return ancestor_cgroup_id(pod.proxy_level) == pod.proxy_cgroup


def own_bit(last_word: u32) -> u64:
    """The bit of `PodState.own_bits` that an address sets, by its last word."""
    mixed = (last_word * 0x9E3779B1) & 0xFFFFFFFF
    return 1 << (mixed >> 26)


def is_own(netns: u64, pod: PodState, address: Address) -> bool:
    """Whether an address is one of the pod's; its bit says "no" faster."""
    if pod.own_bits & own_bit(address.words[3]) == 0:
        return False
    return PodAddress(netns=netns, address=address) in addresses


def is_loopback4(ip: u32) -> bool:
    """Whether connect(2) takes an IPv4 address for this machine."""
    return ip & NET8 == LOOPBACK_NET or ip == ANY


def is_loopback6(address: Address) -> bool:
    """Whether an IPv6 address is `::1`, or is taken for it, or is the sidecar's `::6`."""
    if address.words[0] | address.words[1] | address.words[2] != 0:
        return False
    return address.words[3] in (LOCALHOST6, ANY, ENVOY_INBOUND6)
