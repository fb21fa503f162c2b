"""Check the CRC-32 that ends a fixed-size UDP message, bit by bit, without a table."""

from beewire.bpf import (
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
LENGTH = 20
GOOD = 0
BAD = 1

messages = PerCpuArray[u64](max_entries=2)


class Message(Struct):
    body: bytes = array(u8, LENGTH)
    crc: u32


def crc32(message: Message) -> u32:
    crc: u32 = 0xFFFFFFFF
    for i in range(LENGTH):
        crc ^= message.body[i]
        for _ in range(8):
            if crc & 1 != 0:
                crc = crc >> 1 ^ POLYNOMIAL
            else:
                crc >>= 1
    return crc ^ 0xFFFFFFFF


@xdp
def check_crc(ctx: XdpContext) -> XdpAction:
    if not is_plain_udp(ctx):
        return XdpAction.PASS
    if (message := ctx.at(UDP_PAYLOAD, Message)) is None:
        return XdpAction.PASS
    if crc32(message) == message.crc:
        messages[GOOD] += 1
        return XdpAction.PASS
    messages[BAD] += 1
    return XdpAction.DROP
