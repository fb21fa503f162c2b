"""Block DNS queries by the hash of the name asked for, letter case ignored."""

from beewire.bpf import (
    HashMap,
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    htons,
    ntohs,
    u8,
    u16,
    u32,
    u64,
    xdp,
)
from corpus.headers import IP_OFFSET, UDP_PAYLOAD, Udp, is_plain_udp

DNS_PORT = htons(53)
RESPONSE = 0x8000
LONGEST_NAME = 64
UPPER_A = ord("A")
UPPER_Z = ord("Z")
PASSED = 0
BLOCKED = 1
MALFORMED = 2

blocked = HashMap[u32, u64](max_entries=4096)
queries = PerCpuArray[u64](max_entries=3)


class Dns(Struct):
    id: u16
    flags: u16
    questions: u16
    answers: u16
    authorities: u16
    additional: u16


class Byte(Struct):
    value: u8


def lower(letter: u32) -> u32:
    return letter | 0x20 if letter in range(UPPER_A, UPPER_Z + 1) else letter


def name_hash(ctx: XdpContext, start: u32) -> u32:
    """The DJB hash of the name at `start`; 0 if it does not end."""
    h: u32 = 5381
    for i in range(LONGEST_NAME):
        if (byte := ctx.at(start + i, Byte)) is None:
            return 0
        if byte.value == 0:
            return h
        h = h * 33 + lower(byte.value)
    return 0


@xdp
def filter_dns(ctx: XdpContext) -> XdpAction:
    if not is_plain_udp(ctx):
        return XdpAction.PASS
    if (udp := ctx.at(IP_OFFSET + 20, Udp)) is None or udp.target != DNS_PORT:
        return XdpAction.PASS
    if (dns := ctx.at(UDP_PAYLOAD, Dns)) is None:
        return XdpAction.PASS
    if ntohs(dns.flags) & RESPONSE != 0 or ntohs(dns.questions) != 1:
        return XdpAction.PASS
    h = name_hash(ctx, UDP_PAYLOAD + 12)
    if h == 0:
        queries[MALFORMED] += 1
        return XdpAction.DROP
    if (hits := blocked.lookup(h)) is not None:
        hits.value += 1
        queries[BLOCKED] += 1
        return XdpAction.DROP
    queries[PASSED] += 1
    return XdpAction.PASS
