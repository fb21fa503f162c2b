"""Sample UDP payloads by MurmurHash3 (x86, 32 bits): the same content is always sampled."""

from beewire.bpf import HashMap, Struct, XdpAction, XdpContext, array, u32, u64, xdp
from corpus.headers import UDP_PAYLOAD, is_plain_udp

WORDS = 12
SAMPLE_MASK = 7

sampled = HashMap[u32, u64](max_entries=4096)


class Payload(Struct):
    words: list[u32] = array(u32, WORDS)


def rotate(x: u32, k: u32) -> u32:
    return x << k | x >> (32 - k)


def murmur3(payload: Payload, seed: u32) -> u32:
    h: u32 = seed
    for i in range(WORDS):
        k: u32 = payload.words[i] * 0xCC9E2D51
        k = rotate(k, 15) * 0x1B873593
        h = rotate(h ^ k, 13) * 5 + 0xE6546B64
    h ^= WORDS * 4
    h = (h ^ h >> 16) * 0x85EBCA6B
    h = (h ^ h >> 13) * 0xC2B2AE35
    return h ^ h >> 16


@xdp
def sample(ctx: XdpContext) -> XdpAction:
    if not is_plain_udp(ctx):
        return XdpAction.PASS
    if (payload := ctx.at(UDP_PAYLOAD, Payload)) is None:
        return XdpAction.PASS
    h = murmur3(payload, 0x9747B28C)
    if h & SAMPLE_MASK == 0:
        sampled[h] += 1
    return XdpAction.PASS
