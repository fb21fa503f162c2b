"""By which interface a connection leaves a pod, and with which address.

There is no interface when a socket connects. Pods that have several, or whose
configuration excludes one, have their routes in `ranges`, as user space reads them.
"""

from beewire.bpf import SockAddr, u32
from beewire.mesh.programs.addresses import Address
from beewire.mesh.programs.lists import IPV6_RANGES, LIST_BITS, WHOLE_KEY, is_mapped
from beewire.mesh.programs.state import Listed, Number, PodState, Range, ranges, sources


def has_routes(pod: PodState) -> bool:
    """Whether the pod's routes matter."""
    return pod.flags & (1 << (LIST_BITS + Listed.ROUTES)) != 0


def interface_to(ctx: SockAddr, pod: PodState, address: Address) -> u32:
    """The index of the interface that leads to an address; 0 if it is not known."""
    if (bound := ctx.sk.bound_dev_if) != 0:
        return bound
    if not has_routes(pod):
        return 0
    if (trie := ranges.lookup(pod.scope)) is None:
        return 0
    family = 0 if is_mapped(address) else IPV6_RANGES
    listed = Listed.ROUTES | family
    key = Range(bits=WHOLE_KEY, listed=listed, address=address)
    if (found := trie.lookup(key)) is None:
        return 0
    return found.value


def source_of(pod: PodState, family: u32, interface: u32) -> Address | None:
    """The pod's address on an interface; None if its first one is meant."""
    if interface == 0 or not has_routes(pod):
        return None
    return sources.lookup(Number(owner=pod.scope, listed=family, number=interface))
