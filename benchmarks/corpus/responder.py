"""Answer ARP, ping and IPv6 neighbour discovery for our addresses without the kernel's help."""

from enum import IntEnum

from beewire.bpf import (
    Global,
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    array,
    htons,
    u8,
    u16,
    u32,
    u64,
    xdp,
)
from corpus.headers import (
    ETH_P_ARP,
    ETH_P_IP,
    ETH_P_IPV6,
    IP_OFFSET,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    Ethernet,
    Ipv4,
    Ipv6,
)

ECHO_REPLY = 0
ECHO_REQUEST = 8
ECHO6_REQUEST = 128
ECHO6_REPLY = 129
SOLICITATION = 135
ADVERTISEMENT = 136
ARP_REQUEST = htons(1)
ARP_REPLY = htons(2)
SOLICITED_OVERRIDE = 0x60


class Answer(IntEnum):
    NONE = 0
    ARP = 1
    ECHO = 2
    ECHO6 = 3
    NEIGHBOUR = 4
    MALFORMED = 5


class ArpMessage(Struct):
    hardware: u16
    protocol: u16
    lengths: u16
    operation: u16
    sender_mac: list[u16] = array(u16, 3)
    sender_ip: list[u16] = array(u16, 2)
    target_mac: list[u16] = array(u16, 3)
    target_ip: list[u16] = array(u16, 2)


class Icmp(Struct):
    type: u8
    code: u8
    check: u16


class Neighbour(Struct):
    type: u8
    code: u8
    check: u16
    flags: u8
    reserved: list[u8] = array(u8, 3)
    target: list[u32] = array(u32, 4)
    option: u8
    option_length: u8
    mac: list[u16] = array(u16, 3)


class Frame(Struct):
    """The addresses of an Ethernet header, in halves."""

    target: list[u16] = array(u16, 3)
    source: list[u16] = array(u16, 3)


class Identity(Struct):
    mac: list[u16] = array(u16, 3)
    ip4: list[u16] = array(u16, 2)
    ip6: list[u32] = array(u32, 4)


identity = Global(Identity)
answers = PerCpuArray[u64](max_entries=len(Answer))


def mended(check: u32, before: u32, after: u32) -> u32:
    """A checksum after one half of what it covers has changed (RFC 1624, eqn. 3)."""
    total: u32 = (~check & 0xFFFF) + (~before & 0xFFFF) + (after & 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def folded(word: u32) -> u32:
    """The sum of the halves of a word."""
    return (word & 0xFFFF) + (word >> 16)


def turn(frame: Frame) -> None:
    """Send the frame back to where it came from."""
    frame.target[0] = frame.source[0]
    frame.target[1] = frame.source[1]
    frame.target[2] = frame.source[2]
    frame.source[0] = identity.mac[0]
    frame.source[1] = identity.mac[1]
    frame.source[2] = identity.mac[2]


def answer_arp(ctx: XdpContext, frame: Frame) -> u32:
    if (arp := ctx.at(14, ArpMessage)) is None:
        return Answer.MALFORMED
    if arp.operation != ARP_REQUEST:
        return Answer.NONE
    if arp.target_ip[0] != identity.ip4[0] or arp.target_ip[1] != identity.ip4[1]:
        return Answer.NONE
    arp.operation = ARP_REPLY
    arp.target_mac[0] = arp.sender_mac[0]
    arp.target_mac[1] = arp.sender_mac[1]
    arp.target_mac[2] = arp.sender_mac[2]
    arp.target_ip[0] = arp.sender_ip[0]
    arp.target_ip[1] = arp.sender_ip[1]
    arp.sender_mac[0] = identity.mac[0]
    arp.sender_mac[1] = identity.mac[1]
    arp.sender_mac[2] = identity.mac[2]
    arp.sender_ip[0] = identity.ip4[0]
    arp.sender_ip[1] = identity.ip4[1]
    turn(frame)
    return Answer.ARP


def answer_echo(ctx: XdpContext, frame: Frame) -> u32:
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None:
        return Answer.MALFORMED
    if ip.version_length != 0x45 or ip.protocol != IPPROTO_ICMP:
        return Answer.NONE
    if ip.target != identity.ip4[0] | identity.ip4[1] << 16:
        return Answer.NONE
    if (icmp := ctx.at(IP_OFFSET + 20, Icmp)) is None:
        return Answer.MALFORMED
    if icmp.type != ECHO_REQUEST:
        return Answer.NONE
    icmp.type = ECHO_REPLY
    icmp.check = mended(icmp.check, ECHO_REQUEST, ECHO_REPLY)
    ip.target, ip.source = ip.source, ip.target
    ip.check = mended(ip.check, ip.ttl, 64)
    ip.ttl = 64
    turn(frame)
    return Answer.ECHO


def is_ours(address: Ipv6) -> bool:
    return (
        address.target[0] == identity.ip6[0]
        and address.target[1] == identity.ip6[1]
        and address.target[2] == identity.ip6[2]
        and address.target[3] == identity.ip6[3]
    )


def set_source(ip: Ipv6) -> None:
    """Turn the packet's addresses round; we are the source."""
    ip.target[0] = ip.source[0]
    ip.target[1] = ip.source[1]
    ip.target[2] = ip.source[2]
    ip.target[3] = ip.source[3]
    ip.source[0] = identity.ip6[0]
    ip.source[1] = identity.ip6[1]
    ip.source[2] = identity.ip6[2]
    ip.source[3] = identity.ip6[3]
    ip.hops = 255


def answer_neighbour(ctx: XdpContext, ip: Ipv6) -> u32:
    if (n := ctx.at(IP_OFFSET + 40, Neighbour)) is None:
        return Answer.MALFORMED
    if n.target[0] != identity.ip6[0] or n.target[1] != identity.ip6[1]:
        return Answer.NONE
    if n.target[2] != identity.ip6[2] or n.target[3] != identity.ip6[3]:
        return Answer.NONE
    if n.option != 1 or n.option_length != 1:
        return Answer.MALFORMED
    n.type = ADVERTISEMENT
    n.flags = SOLICITED_OVERRIDE
    n.option = 2
    n.mac[0] = identity.mac[0]
    n.mac[1] = identity.mac[1]
    n.mac[2] = identity.mac[2]
    set_source(ip)
    # The whole checksum: addresses, length, protocol, message.
    total: u64 = ADVERTISEMENT + SOLICITED_OVERRIDE + 0x0102
    for i in range(4):
        total += folded(ip.source[i]) + folded(ip.target[i]) + folded(n.target[i])
    total += n.mac[0] + n.mac[1] + n.mac[2]
    total += htons(32) + htons(IPPROTO_ICMPV6)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    n.check = ~total & 0xFFFF
    return Answer.NEIGHBOUR


def answer_ipv6(ctx: XdpContext, frame: Frame) -> u32:
    if (ip := ctx.at(IP_OFFSET, Ipv6)) is None:
        return Answer.MALFORMED
    if ip.next != IPPROTO_ICMPV6:
        return Answer.NONE
    if (icmp := ctx.at(IP_OFFSET + 40, Icmp)) is None:
        return Answer.MALFORMED
    answer: u32 = Answer.NONE
    if icmp.type == SOLICITATION:
        answer = answer_neighbour(ctx, ip)
    elif icmp.type == ECHO6_REQUEST and is_ours(ip):
        icmp.type = ECHO6_REPLY
        icmp.check = mended(icmp.check, ECHO6_REQUEST, ECHO6_REPLY)
        set_source(ip)
        answer = Answer.ECHO6
    if answer in (Answer.NEIGHBOUR, Answer.ECHO6):
        turn(frame)
    return answer


def answer_to(ctx: XdpContext) -> u32:
    if (eth := ctx.at(0, Ethernet)) is None or (frame := ctx.at(0, Frame)) is None:
        return Answer.MALFORMED
    if eth.protocol == ETH_P_ARP:
        return answer_arp(ctx, frame)
    if eth.protocol == ETH_P_IP:
        return answer_echo(ctx, frame)
    return answer_ipv6(ctx, frame) if eth.protocol == ETH_P_IPV6 else Answer.NONE


@xdp
def respond(ctx: XdpContext) -> XdpAction:
    answer = answer_to(ctx)
    answers[answer] += 1
    if answer in (Answer.NONE, Answer.MALFORMED):
        return XdpAction.PASS
    return XdpAction.TX
