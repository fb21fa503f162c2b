"""What SYNs offer: maximum segment size, window scale, SACK and timestamps, by source."""

from beewire.bpf import LruHash, Struct, XdpAction, XdpContext, ntohs, u8, u16, u32, xdp
from corpus.headers import ETH_P_IP, IP_OFFSET, IPPROTO_TCP, Ethernet, Ipv4, Tcp

SYN = 0x02
END = 0
NOP = 1
MSS = 2
WSCALE = 3
SACK_PERMITTED = 4
TIMESTAMP = 8
MOST_OPTIONS = 10


class Kind(Struct):
    value: u8


class Length(Struct):
    kind: u8
    value: u8


class Mss(Struct):
    kind: u8
    length: u8
    value: u16


class Wscale(Struct):
    kind: u8
    length: u8
    value: u8


class Offer(Struct):
    mss: u16
    wscale: u8
    sack: bool
    timestamp: bool
    options: u8


offers = LruHash[u32, Offer](max_entries=4096)


def parse(ctx: XdpContext, offer: Offer, start: u32, end: u32) -> None:
    """Fill in `offer` from the options between two offsets in the frame."""
    at = start
    for _ in range(MOST_OPTIONS):
        if at >= end or (kind := ctx.at(at, Kind)) is None or kind.value == END:
            return
        if kind.value == NOP:
            at += 1
            continue
        if (length := ctx.at(at, Length)) is None or length.value < 2:
            return
        offer.options += 1
        match kind.value:
            case 2:
                if (mss := ctx.at(at, Mss)) is not None:
                    offer.mss = ntohs(mss.value)
            case 3:
                if (wscale := ctx.at(at, Wscale)) is not None:
                    offer.wscale = wscale.value
            case 4:
                offer.sack = True
            case 8:
                offer.timestamp = True
        at += length.value


@xdp
def syn_options(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None or ip.protocol != IPPROTO_TCP:
        return XdpAction.PASS
    if ip.version_length != 0x45 or (tcp := ctx.at(IP_OFFSET + 20, Tcp)) is None:
        return XdpAction.PASS
    if tcp.flags & SYN == 0:
        return XdpAction.PASS
    offer = Offer()
    start = IP_OFFSET + 40
    parse(ctx, offer, start, IP_OFFSET + 20 + (tcp.offset >> 4) * 4)
    offers[ip.source] = offer
    return XdpAction.PASS
