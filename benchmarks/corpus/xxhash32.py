"""Find repeated UDP payloads by xxHash32 of their first 48 bytes."""

from beewire.bpf import LruHash, Struct, XdpAction, XdpContext, array, u32, u64, xdp
from corpus.headers import UDP_PAYLOAD, is_plain_udp

PRIME1 = 0x9E3779B1
PRIME2 = 0x85EBCA77
PRIME3 = 0xC2B2AE3D
STRIPES = 3
REPEATS = 100

seen = LruHash[u32, u64](max_entries=8192)


class Stripe(Struct):
    words: list[u32] = array(u32, 4)


class Payload(Struct):
    stripes: list[Stripe] = array(Stripe, STRIPES)


def rotate(x: u32, k: u32) -> u32:
    return x << k | x >> (32 - k)


def lane(acc: u32, word: u32) -> u32:
    """Mix one word into one of the four accumulators."""
    return rotate(acc + word * PRIME2, 13) * PRIME1


def xxhash32(payload: Payload, seed: u32) -> u32:
    a: u32 = seed + PRIME1 + PRIME2
    b: u32 = seed + PRIME2
    c: u32 = seed
    d: u32 = seed - PRIME1
    for i in range(STRIPES):
        a = lane(a, payload.stripes[i].words[0])
        b = lane(b, payload.stripes[i].words[1])
        c = lane(c, payload.stripes[i].words[2])
        d = lane(d, payload.stripes[i].words[3])
    h: u32 = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18)
    h += STRIPES * 16
    h = (h ^ h >> 15) * PRIME2
    h = (h ^ h >> 13) * PRIME3
    return h ^ h >> 16


@xdp
def repeats(ctx: XdpContext) -> XdpAction:
    if not is_plain_udp(ctx):
        return XdpAction.PASS
    if (payload := ctx.at(UDP_PAYLOAD, Payload)) is None:
        return XdpAction.PASS
    h = xxhash32(payload, 0)
    if (count := seen.lookup(h)) is None:
        seen[h] = 1
        return XdpAction.PASS
    count.value += 1
    return XdpAction.DROP if count.value > REPEATS else XdpAction.PASS
