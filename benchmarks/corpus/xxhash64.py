"""Deduplicate UDP payloads by xxHash64 of their first 77 bytes."""

from beewire.bpf import LruHash, Struct, XdpAction, XdpContext, array, u8, u32, u64, xdp
from corpus.headers import UDP_PAYLOAD, is_plain_udp

PRIME1 = 0x9E3779B185EBCA87
PRIME2 = 0xC2B2AE3D27D4EB4F
PRIME3 = 0x165667B19E3779F9
PRIME4 = 0x85EBCA77C2B2AE63
PRIME5 = 0x27D4EB2F165667C5
LENGTH = 77

seen = LruHash[u64, u32](max_entries=8192)


class Stripe(Struct):
    words: list[u64] = array(u64, 4)


class Payload(Struct):
    first: Stripe
    second: Stripe
    word: u64
    half: u32
    byte: u8


def rotate(x: u64, k: u32) -> u64:
    return x << k | x >> (64 - k)


def lane(acc: u64, word: u64) -> u64:
    """Mix one word into one of the four accumulators."""
    return rotate(acc + word * PRIME2, 31) * PRIME1


def merge(h: u64, acc: u64) -> u64:
    """Mix an accumulator into the hash."""
    return (h ^ lane(0, acc)) * PRIME1 + PRIME4


def xxhash64(payload: Payload, seed: u64) -> u64:
    a = lane(seed + PRIME1 + PRIME2, payload.first.words[0])
    b = lane(seed + PRIME2, payload.first.words[1])
    c = lane(seed, payload.first.words[2])
    d = lane(seed - PRIME1, payload.first.words[3])
    a = lane(a, payload.second.words[0])
    b = lane(b, payload.second.words[1])
    c = lane(c, payload.second.words[2])
    d = lane(d, payload.second.words[3])
    h: u64 = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18)
    h = merge(h, a)
    h = merge(h, b)
    h = merge(h, c)
    h = merge(h, d)
    h += LENGTH
    h = rotate(h ^ lane(0, payload.word), 27) * PRIME1 + PRIME4
    h = rotate(h ^ payload.half * PRIME1, 23) * PRIME2 + PRIME3
    h = rotate(h ^ payload.byte * PRIME5, 11) * PRIME1
    h = (h ^ h >> 33) * PRIME2
    h = (h ^ h >> 29) * PRIME3
    return h ^ h >> 32


@xdp
def deduplicate(ctx: XdpContext) -> XdpAction:
    if not is_plain_udp(ctx):
        return XdpAction.PASS
    if (payload := ctx.at(UDP_PAYLOAD, Payload)) is None:
        return XdpAction.PASS
    if seen.insert(xxhash64(payload, 0), 1) != 0:
        return XdpAction.DROP
    return XdpAction.PASS
