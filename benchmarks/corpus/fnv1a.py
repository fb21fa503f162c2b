"""Count UDP payloads by the FNV-1a hash of at most 32 of their bytes, as many as there are."""

from beewire.bpf import Array, Struct, XdpAction, XdpContext, u8, u32, u64, xdp
from corpus.headers import UDP_PAYLOAD, is_plain_udp

LONGEST = 32
BUCKETS = 256

buckets = Array[u64](max_entries=BUCKETS)


class Byte(Struct):
    value: u8


@xdp
def by_payload(ctx: XdpContext) -> XdpAction:
    if not is_plain_udp(ctx):
        return XdpAction.PASS
    h: u32 = 0x811C9DC5
    for i in range(LONGEST):
        if (byte := ctx.at(UDP_PAYLOAD + i, Byte)) is None:
            break
        h = (h ^ byte.value) * 0x01000193
    buckets[(h ^ h >> 16) & (BUCKETS - 1)] += 1
    return XdpAction.PASS
