"""Route QUIC by connection id: the second byte of the id names the server."""

from beewire.bpf import (
    Array,
    LruHash,
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    array,
    htons,
    ntohl,
    u8,
    u32,
    u64,
    xdp,
)
from corpus.headers import IP_OFFSET, UDP_PAYLOAD, Ipv4, Udp, is_plain_udp

QUIC_PORT = htons(443)
LONG_HEADER = 0x80
FIXED_BIT = 0x40
VERSION_1 = 1
VERSION_2 = 0x6B3343CF
SHORTEST_ID = 8
LONGEST_ID = 20
INITIAL = 0
LONG = 1
SHORT = 2
NEGOTIATION = 3
INVALID = 4


class Long(Struct):
    first: u8
    version: list[u8] = array(u8, 4)
    id_length: u8
    id: bytes = array(u8, 8)


class Short(Struct):
    first: u8
    id: bytes = array(u8, 8)


class Client(Struct):
    address: u32
    port: u32


kinds = PerCpuArray[u64](max_entries=5)
servers = Array[u32](max_entries=256)
initials = LruHash[Client, u32](max_entries=16384)


def big_endian(b: Long) -> u32:
    return b.version[0] << 24 | b.version[1] << 16 | b.version[2] << 8 | b.version[3]


def route(server: u32) -> XdpAction:
    if (socket := servers.lookup(server)) is None or socket.value == 0:
        return XdpAction.PASS
    return XdpAction.REDIRECT


@xdp
def quic_router(ctx: XdpContext) -> XdpAction:
    if not is_plain_udp(ctx):
        return XdpAction.PASS
    if (udp := ctx.at(IP_OFFSET + 20, Udp)) is None or udp.target != QUIC_PORT:
        return XdpAction.PASS
    if (short := ctx.at(UDP_PAYLOAD, Short)) is None or short.first & FIXED_BIT == 0:
        kinds[INVALID] += 1
        return XdpAction.DROP
    if short.first & LONG_HEADER == 0:
        kinds[SHORT] += 1
        return route(short.id[1])
    if (long := ctx.at(UDP_PAYLOAD, Long)) is None:
        kinds[INVALID] += 1
        return XdpAction.DROP
    version = big_endian(long)
    if version == 0:
        kinds[NEGOTIATION] += 1
        return XdpAction.PASS
    if version not in (VERSION_1, VERSION_2):
        kinds[INVALID] += 1
        return XdpAction.PASS
    if long.id_length < SHORTEST_ID or long.id_length > LONGEST_ID:
        kinds[INVALID] += 1
        return XdpAction.DROP
    # The type of the packet: 0 is Initial in version 1, 1 in version 2.
    packet_type = long.first >> 4 & 3
    if packet_type != (1 if version == VERSION_2 else 0):
        kinds[LONG] += 1
        return route(long.id[1])
    kinds[INITIAL] += 1
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is not None:
        client = Client(address=ntohl(ip.source), port=udp.source)
        initials[client] = long.id[1]
    return XdpAction.PASS
