"""Give each new IPv4 source a random version 4 UUID, and publish it as text."""

from beewire.bpf import (
    LruHash,
    RingBuf,
    Struct,
    XdpAction,
    XdpContext,
    array,
    random_u32,
    u8,
    u32,
    xdp,
)
from corpus.headers import ETH_P_IP, IP_OFFSET, Ethernet, Ipv4


class Uuid(Struct):
    bytes: bytes = array(u8, 16)


class Text(Struct):
    source: u32
    characters: bytes = array(u8, 40)


known = LruHash[u32, Uuid](max_entries=8192)
published = RingBuf[Text](size=1 << 16, count_dropped=False)


def digit(value: u32) -> u8:
    """A hexadecimal digit."""
    return value + 0x30 if value < 10 else value + 0x57


def put_word(text: Text, at: u32, word: u32) -> None:
    """Two bytes as four digits, the first byte first."""
    text.characters[at] = digit(word >> 4 & 15)
    text.characters[at + 1] = digit(word & 15)
    text.characters[at + 2] = digit(word >> 12 & 15)
    text.characters[at + 3] = digit(word >> 8 & 15)


def set_word(uuid: Uuid, at: u32, word: u32) -> None:
    uuid.bytes[at] = word
    uuid.bytes[at + 1] = word >> 8
    uuid.bytes[at + 2] = word >> 16
    uuid.bytes[at + 3] = word >> 24


@xdp
def name_source(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None or ip.source in known:
        return XdpAction.PASS
    a: u32 = random_u32()
    b: u32 = random_u32() & 0xFF0FFFFF | 0x00400000  # version 4
    c: u32 = random_u32() & 0xFFFFFF3F | 0x00000080  # RFC 4122
    d: u32 = random_u32()
    uuid = Uuid()
    set_word(uuid, 0, a)
    set_word(uuid, 4, b)
    set_word(uuid, 8, c)
    set_word(uuid, 12, d)
    known[ip.source] = uuid
    with published.reserve() as text:
        if text is not None:
            text.source = ip.source
            put_word(text, 0, a)
            put_word(text, 4, a >> 16)
            text.characters[8] = 0x2D
            put_word(text, 9, b)
            text.characters[13] = 0x2D
            put_word(text, 14, b >> 16)
            text.characters[18] = 0x2D
            put_word(text, 19, c)
            text.characters[23] = 0x2D
            put_word(text, 24, c >> 16)
            put_word(text, 28, d)
            put_word(text, 32, d >> 16)
            text.characters[36] = 0
            text.characters[37] = 0
            text.characters[38] = 0
            text.characters[39] = 0
    return XdpAction.PASS
