"""Parse a dotted IPv4 address in a text payload, and block that address: a control channel."""

from beewire.bpf import (
    HashMap,
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    htonl,
    htons,
    u8,
    u32,
    u64,
    xdp,
)
from corpus.headers import IP_OFFSET, UDP_PAYLOAD, Udp, is_plain_udp

CONTROL_PORT = htons(7777)
LONGEST = 16  # "255.255.255.255" and what ends it
DOT = ord(".")
ZERO = ord("0")
ACCEPTED = 0
REFUSED = 1

blocked = HashMap[u32, u64](max_entries=1024)
commands = PerCpuArray[u64](max_entries=2)


class Character(Struct):
    value: u8


@xdp
def control(ctx: XdpContext) -> XdpAction:
    if not is_plain_udp(ctx):
        return XdpAction.PASS
    if (udp := ctx.at(IP_OFFSET + 20, Udp)) is None or udp.target != CONTROL_PORT:
        return XdpAction.PASS
    address: u32 = 0
    part: u32 = 0
    digits: u32 = 0
    dots: u32 = 0
    for i in range(LONGEST):
        if (character := ctx.at(UDP_PAYLOAD + i, Character)) is None:
            break
        letter: u32 = character.value
        if letter == DOT:
            if digits == 0 or dots == 3:
                commands[REFUSED] += 1
                return XdpAction.DROP
            address = address << 8 | part
            part = 0
            digits = 0
            dots += 1
            continue
        digit: u32 = letter - ZERO
        if digit > 9:
            break
        part = part * 10 + digit
        digits += 1
        if part > 255 or digits > 3:
            commands[REFUSED] += 1
            return XdpAction.DROP
    if dots != 3 or digits == 0:
        commands[REFUSED] += 1
        return XdpAction.DROP
    blocked[htonl(address << 8 & 0xFFFFFFFF | part)] += 1
    commands[ACCEPTED] += 1
    return XdpAction.DROP
