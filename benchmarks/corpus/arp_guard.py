"""Stop ARP spoofing: addresses with a fixed hardware address may be claimed by it only."""

from beewire.bpf import (
    HashMap,
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
from corpus.headers import ETH_P_ARP, ETH_P_IP, Ethernet

REQUEST = htons(1)
REPLY = htons(2)
ETHERNET = htons(1)
SPOOFED = 0
MISMATCHED = 1
UNKNOWN = 2
GOOD = 3


class Arp(Struct, packed=True):
    hardware: u16
    protocol: u16
    hardware_length: u8
    protocol_length: u8
    operation: u16
    sender_mac: bytes = array(u8, 6)
    sender_ip: u32
    target_mac: bytes = array(u8, 6)
    target_ip: u32


class Owner(Struct):
    mac: bytes = array(u8, 6)
    port: u16


owners = HashMap[u32, Owner](max_entries=1024)
verdicts = PerCpuArray[u64](max_entries=4)


def is_owner(arp: Arp, owner: Owner) -> bool:
    return (
        arp.sender_mac[0] == owner.mac[0]
        and arp.sender_mac[1] == owner.mac[1]
        and arp.sender_mac[2] == owner.mac[2]
        and arp.sender_mac[3] == owner.mac[3]
        and arp.sender_mac[4] == owner.mac[4]
        and arp.sender_mac[5] == owner.mac[5]
    )


def is_sender(arp: Arp, eth: Ethernet) -> bool:
    """Whether the frame comes from whom the message names as its sender."""
    return (
        arp.sender_mac[0] == eth.source[0]
        and arp.sender_mac[1] == eth.source[1]
        and arp.sender_mac[2] == eth.source[2]
        and arp.sender_mac[3] == eth.source[3]
        and arp.sender_mac[4] == eth.source[4]
        and arp.sender_mac[5] == eth.source[5]
    )


@xdp
def arp_guard(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_ARP:
        return XdpAction.PASS
    if (arp := ctx.at(14, Arp)) is None:
        return XdpAction.DROP
    if arp.hardware != ETHERNET or arp.protocol != ETH_P_IP:
        return XdpAction.PASS
    if arp.hardware_length != 6 or arp.protocol_length != 4:
        return XdpAction.DROP
    if arp.operation not in (REQUEST, REPLY):
        return XdpAction.PASS
    if not is_sender(arp, eth):
        verdicts[MISMATCHED] += 1
        return XdpAction.DROP
    if (owner := owners.lookup(arp.sender_ip)) is None:
        verdicts[UNKNOWN] += 1
        return XdpAction.PASS
    if not is_owner(arp, owner):
        verdicts[SPOOFED] += 1
        return XdpAction.DROP
    verdicts[GOOD] += 1
    return XdpAction.PASS
