"""Check the CRC-32 that ends a fixed-size UDP message, by a table of half bytes."""

from beewire.bpf import (
    Global,
    PerCpuArray,
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

POLYNOMIAL = 0xEDB88320
LENGTH = 28
GOOD = 0
BAD = 1

messages = PerCpuArray[u64](max_entries=2)


class Table(Struct):
    words: list[u32] = array(u32, 16)


class Message(Struct):
    body: bytes = array(u8, LENGTH)
    crc: u32


def entry(value: int) -> int:
    """What four rounds of the bitwise algorithm make of a half byte."""
    for _ in range(4):
        value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
    return value


table = Global(Table, Table(words=[entry(value) for value in range(16)]))


def crc32(message: Message) -> u32:
    crc: u32 = 0xFFFFFFFF
    for i in range(LENGTH):
        crc ^= message.body[i]
        crc = crc >> 4 ^ table.words[crc & 15]
        crc = crc >> 4 ^ table.words[crc & 15]
    return crc ^ 0xFFFFFFFF


@xdp
def check_crc_fast(ctx: XdpContext) -> XdpAction:
    if not is_plain_udp(ctx):
        return XdpAction.PASS
    if (message := ctx.at(UDP_PAYLOAD, Message)) is None:
        return XdpAction.PASS
    if crc32(message) == message.crc:
        messages[GOOD] += 1
        return XdpAction.PASS
    messages[BAD] += 1
    return XdpAction.DROP
