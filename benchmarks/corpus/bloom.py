"""Pass the first packet of each flow to user space only once, by a Bloom filter of our own."""

from beewire.bpf import (
    Array,
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    array,
    u32,
    u64,
    xdp,
)
from corpus.headers import (
    ETH_P_IP,
    IP_OFFSET,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Ethernet,
    Ipv4,
    Ports,
    join,
)

WORDS = 1024
BITS = WORDS * 64
NEW = 0
KNOWN = 1


class Filter(Struct):
    words: list[u64] = array(u64, WORDS)


filters = Array[Filter](max_entries=1)
flows = PerCpuArray[u64](max_entries=2)


def mix(value: u64) -> u64:
    """The finalizer of MurmurHash3, 64 bits."""
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53
    return value ^ value >> 33


def mark(bloom: Filter, position: u32) -> bool:
    """Set one bit; whether it was set before."""
    word: u32 = position >> 6 & (WORDS - 1)
    bit: u64 = 1 << (position & 63)
    old = bloom.words[word]
    bloom.words[word] = old | bit
    return old & bit != 0


def was_seen(bloom: Filter, h: u64) -> bool:
    """Set the flow's four bits; whether all of them were set."""
    first: u32 = h & 0xFFFFFFFF
    step: u32 = h >> 32
    seen: bool = True
    for i in range(4):
        if not mark(bloom, (first + i * step) % BITS):
            seen = False
    return seen


@xdp
def new_flows(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None or ip.version_length != 0x45:
        return XdpAction.PASS
    if ip.protocol not in (IPPROTO_TCP, IPPROTO_UDP):
        return XdpAction.PASS
    if (ports := ctx.at(IP_OFFSET + 20, Ports)) is None:
        return XdpAction.PASS
    if (bloom := filters.lookup(0)) is None:
        return XdpAction.PASS
    addresses = join(ip.source, ip.target)
    rest = join(ports.source, ports.target << 16 | ip.protocol)
    if was_seen(bloom, mix(addresses ^ mix(rest))):
        flows[KNOWN] += 1
    else:
        flows[NEW] += 1
    return XdpAction.PASS
