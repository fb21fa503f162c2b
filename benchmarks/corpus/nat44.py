"""Static one-to-one NAT: rewrite the destination, and mend the checksums incrementally."""

from beewire.bpf import (
    HashMap,
    PerCpuHash,
    Struct,
    XdpAction,
    XdpContext,
    u16,
    u32,
    u64,
    xdp,
)
from corpus.headers import (
    ETH_P_IP,
    IP_OFFSET,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Ethernet,
    Ipv4,
    Ports,
    Tcp,
    Udp,
)


class Outside(Struct):
    address: u32
    port: u16
    protocol: u16


class Inside(Struct):
    address: u32
    port: u16
    padding: u16


mappings = HashMap[Outside, Inside](max_entries=1024)
translated = PerCpuHash[u32, u64](max_entries=1024)


def mended(check: u16, before: u32, after: u32) -> u32:
    """A checksum after one word of what it covers has changed (RFC 1624, eqn. 3)."""
    total: u32 = ~check & 0xFFFF
    total += (~before & 0xFFFF) + (~before >> 16 & 0xFFFF)
    total += (after & 0xFFFF) + (after >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@xdp
def nat44(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None or ip.version_length != 0x45:
        return XdpAction.PASS
    if ip.protocol not in (IPPROTO_TCP, IPPROTO_UDP):
        return XdpAction.PASS
    if (ports := ctx.at(IP_OFFSET + 20, Ports)) is None:
        return XdpAction.PASS
    key = Outside(address=ip.target, port=ports.target, protocol=ip.protocol)
    if (inside := mappings.lookup(key)) is None:
        return XdpAction.PASS
    address: u32 = inside.address
    port: u16 = inside.port
    if ip.protocol == IPPROTO_TCP:
        if (tcp := ctx.at(IP_OFFSET + 20, Tcp)) is None:
            return XdpAction.PASS
        check = mended(tcp.check, ip.target, address)
        tcp.check = mended(check, tcp.target, port)
    else:
        if (udp := ctx.at(IP_OFFSET + 20, Udp)) is None:
            return XdpAction.PASS
        if udp.check != 0:  # 0 means that there is none
            check = mended(udp.check, ip.target, address)
            udp.check = mended(check, udp.target, port)
    ip.check = mended(ip.check, ip.target, address)
    ip.target = address
    ports.target = port
    translated[address] += 1
    return XdpAction.TX
