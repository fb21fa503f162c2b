"""Mask the first 64 bytes of UDP payloads with the ChaCha8 key stream, both ways alike."""

from beewire.bpf import Global, Struct, XdpAction, XdpContext, array, u32, xdp
from corpus.headers import IP_OFFSET, UDP_PAYLOAD, Udp, is_plain_udp

ROUNDS = 4  # double rounds


class Block(Struct):
    words: list[u32] = array(u32, 16)


class Masking(Struct):
    key: list[u32] = array(u32, 8)
    nonce: list[u32] = array(u32, 2)
    port: u32  # 0 means that nothing is masked
    blocks: u32


masking = Global(Masking)


def rotate(x: u32, k: u32) -> u32:
    return x << k | x >> (32 - k)


def quarter(s: Block, a: u32, b: u32, c: u32, d: u32) -> None:
    s.words[a] += s.words[b]
    s.words[d] = rotate(s.words[d] ^ s.words[a], 16)
    s.words[c] += s.words[d]
    s.words[b] = rotate(s.words[b] ^ s.words[c], 12)
    s.words[a] += s.words[b]
    s.words[d] = rotate(s.words[d] ^ s.words[a], 8)
    s.words[c] += s.words[d]
    s.words[b] = rotate(s.words[b] ^ s.words[c], 7)


def start(s: Block, counter: u32) -> None:
    """The state before the first round."""
    s.words[0] = 0x61707865
    s.words[1] = 0x3320646E
    s.words[2] = 0x79622D32
    s.words[3] = 0x6B206574
    for i in range(8):
        s.words[4 + i] = masking.key[i]
    s.words[12] = counter
    s.words[13] = 0
    s.words[14] = masking.nonce[0]
    s.words[15] = masking.nonce[1]


@xdp
def mask_payload(ctx: XdpContext) -> XdpAction:
    if masking.port == 0 or not is_plain_udp(ctx):
        return XdpAction.PASS
    if (udp := ctx.at(IP_OFFSET + 20, Udp)) is None or udp.target != masking.port:
        return XdpAction.PASS
    if (payload := ctx.at(UDP_PAYLOAD, Block)) is None:
        return XdpAction.PASS
    s = Block()
    first = Block()
    start(s, udp.source)
    start(first, udp.source)
    for _ in range(ROUNDS):
        quarter(s, 0, 4, 8, 12)
        quarter(s, 1, 5, 9, 13)
        quarter(s, 2, 6, 10, 14)
        quarter(s, 3, 7, 11, 15)
        quarter(s, 0, 5, 10, 15)
        quarter(s, 1, 6, 11, 12)
        quarter(s, 2, 7, 8, 13)
        quarter(s, 3, 4, 9, 14)
    for i in range(16):
        payload.words[i] = payload.words[i] ^ s.words[i] + first.words[i]
    masking.blocks += 1
    return XdpAction.PASS
