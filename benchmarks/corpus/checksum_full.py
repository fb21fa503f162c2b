"""Drop IPv4 packets whose header checksum is wrong, options included."""

from beewire.bpf import PerCpuArray, Struct, XdpAction, XdpContext, u16, u32, u64, xdp
from corpus.headers import ETH_P_IP, IP_OFFSET, Ethernet, Ipv4

GOOD = 0
BAD = 1
LONGEST = 30  # halves of a header of 60 bytes

verdicts = PerCpuArray[u64](max_entries=2)


class Half(Struct):
    value: u16


def header_sum(ctx: XdpContext, halves: u32) -> u32:
    """The Internet checksum of the first `halves` of the header; 0 where it is right."""
    total: u32 = 0
    for i in range(LONGEST):
        if i == halves or (half := ctx.at(IP_OFFSET + i * 2, Half)) is None:
            break
        total += half.value
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


@xdp
def verify_header(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None or ip.version_length >> 4 != 4:
        return XdpAction.PASS
    words = ip.version_length & 15
    if words < 5:
        verdicts[BAD] += 1
        return XdpAction.DROP
    if header_sum(ctx, words * 2) != 0:
        verdicts[BAD] += 1
        return XdpAction.DROP
    verdicts[GOOD] += 1
    return XdpAction.PASS
