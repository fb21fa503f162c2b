"""Predict the receive queue of a flow: the Toeplitz hash of network cards (RSS), bit by bit."""

from beewire.bpf import (
    Global,
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    array,
    ntohl,
    u32,
    u64,
    xdp,
)
from corpus.headers import ETH_P_IP, IP_OFFSET, Ethernet, Ipv4, Ports, join

QUEUES = 16

by_queue = PerCpuArray[u64](max_entries=QUEUES)


class RssKey(Struct):
    words: list[u32] = array(u32, 4)


# The first words of Microsoft's verification suite, as the card sees them.
key = Global(RssKey, RssKey(words=[0x6D5A56DA, 0x255B0EC2, 0x4167253D, 0x43A38FB0]))


def absorb(word: u32, left: u32, right: u32) -> u32:
    """The hash of one word, by the 64 bits of the key from there on."""
    h: u32 = 0
    window = join(left, right)
    for i in range(32):
        if word & 0x80000000 >> i != 0:
            h ^= window >> 32
        window <<= 1
    return h


@xdp
def predict_queue(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None or ip.version_length != 0x45:
        return XdpAction.PASS
    if (ports := ctx.at(IP_OFFSET + 20, Ports)) is None:
        return XdpAction.PASS
    h = absorb(ntohl(ip.source), key.words[0], key.words[1])
    h ^= absorb(ntohl(ip.target), key.words[1], key.words[2])
    both = ntohl(ports.target << 16 | ports.source)
    h ^= absorb(both, key.words[2], key.words[3])
    by_queue[h & (QUEUES - 1)] += 1
    return XdpAction.PASS
