"""Publish the first 24 bytes of suspicious payloads as base64, without a table."""

from beewire.bpf import (
    PerCpuArray,
    RingBuf,
    Struct,
    XdpAction,
    XdpContext,
    array,
    u8,
    u32,
    u64,
    xdp,
)
from corpus.headers import UDP_PAYLOAD, is_plain_udp

GROUPS = 8  # of three bytes
PUBLISHED = 0
LOST = 1


class Payload(Struct):
    bytes: bytes = array(u8, GROUPS * 3)


class Text(Struct):
    characters: bytes = array(u8, GROUPS * 4)


texts = RingBuf[Text](size=1 << 16, count_dropped=False)
counters = PerCpuArray[u64](max_entries=2)


def character(six: u32) -> u8:
    """The character of the alphabet for six bits."""
    if six < 26:
        return six + 0x41
    if six < 52:
        return six + 0x47
    if six < 62:
        return six - 4
    return 0x2B if six == 62 else 0x2F


def is_suspicious(payload: Payload) -> bool:
    """Three bytes in a row that no text has."""
    return payload.bytes[0] & payload.bytes[1] & payload.bytes[2] > 0x7F


@xdp
def publish(ctx: XdpContext) -> XdpAction:
    if not is_plain_udp(ctx):
        return XdpAction.PASS
    if (payload := ctx.at(UDP_PAYLOAD, Payload)) is None or not is_suspicious(payload):
        return XdpAction.PASS
    with texts.reserve() as text:
        if text is None:
            counters[LOST] += 1
            return XdpAction.PASS
        for i in range(GROUPS):
            high: u32 = payload.bytes[i * 3]
            middle: u32 = payload.bytes[i * 3 + 1]
            low: u32 = payload.bytes[i * 3 + 2]
            group: u32 = high << 16 | middle << 8 | low
            text.characters[i * 4] = character(group >> 18)
            text.characters[i * 4 + 1] = character(group >> 12 & 63)
            text.characters[i * 4 + 2] = character(group >> 6 & 63)
            text.characters[i * 4 + 3] = character(group & 63)
    counters[PUBLISHED] += 1
    return XdpAction.PASS
