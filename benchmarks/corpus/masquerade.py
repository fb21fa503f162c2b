"""Source NAT with port allocation: many inside, one address outside, both directions."""

from enum import IntEnum

from beewire.bpf import (
    Global,
    LruHash,
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    htons,
    ktime_coarse_ns,
    u8,
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

TRIES = 8


class Outcome(IntEnum):
    PASSED = 0
    OUT = 1
    IN = 2
    EXHAUSTED = 3
    UNKNOWN = 4
    MALFORMED = 5


class Tuple(Struct):
    source: u32
    target: u32
    source_port: u16
    target_port: u16
    protocol: u8
    padding: u8
    more_padding: u16


class Mapping(Struct):
    address: u32
    port: u16
    flags: u16
    used_ns: u64


class Settings(Struct):
    network: u32
    mask: u32
    outside: u32
    first_port: u16
    ports: u16


outgoing = LruHash[Tuple, Mapping](max_entries=65536)
incoming = LruHash[Tuple, Mapping](max_entries=65536)
outcomes = PerCpuArray[u64](max_entries=len(Outcome))
settings = Global(
    Settings,
    Settings(
        network=0x0000000A,
        mask=0x000000FF,
        outside=0x010200C0,
        first_port=20000,
        ports=30000,
    ),
)


def mended(check: u16, before: u32, after: u32) -> u32:
    """A checksum after one word of what it covers has changed (RFC 1624, eqn. 3)."""
    total: u32 = ~check & 0xFFFF
    total += (~before & 0xFFFF) + (~before >> 16 & 0xFFFF)
    total += (after & 0xFFFF) + (after >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def mix(t: Tuple) -> u32:
    """A port to begin with."""
    h: u32 = (t.source ^ t.target) * 0x9E3779B1
    h ^= (t.source_port << 16 | t.target_port) * 0x85EBCA77
    return (h ^ h >> 15) * 0xC2B2AE3D >> 8 & 0xFFFFFF


def allocate(t: Tuple, now: u64) -> u16:
    """Find a free port for an outgoing flow, and enter it both ways; 0 if none is."""
    if settings.ports == 0:
        return 0
    start = mix(t)
    back = Tuple(
        source=t.target,
        target=settings.outside,
        source_port=t.target_port,
        protocol=t.protocol,
    )
    inside = Mapping(address=t.source, port=t.source_port, used_ns=now)
    for i in range(TRIES):
        port = settings.first_port + (start + i * 7) % settings.ports
        back.target_port = htons(port & 0xFFFF)
        if incoming.insert(back, inside) == 0:
            outgoing[t] = Mapping(
                address=settings.outside, port=back.target_port, used_ns=now
            )
            return back.target_port
    return 0


def mend_transport(
    ctx: XdpContext, ip: Ipv4, before: u32, after: u32, old: u16, new: u16
) -> bool:
    """Mend the transport's checksum for another address and port."""
    if ip.protocol == IPPROTO_TCP:
        if (tcp := ctx.at(IP_OFFSET + 20, Tcp)) is None:
            return False
        tcp.check = mended(mended(tcp.check, before, after), old, new)
        return True
    if (udp := ctx.at(IP_OFFSET + 20, Udp)) is None:
        return False
    if udp.check != 0:
        udp.check = mended(mended(udp.check, before, after), old, new)
    return True


def send_out(ctx: XdpContext, ip: Ipv4, ports: Ports, t: Tuple) -> u32:
    now = ktime_coarse_ns()
    port: u16 = 0
    if (known := outgoing.lookup(t)) is not None:
        known.used_ns = now
        port = known.port
    else:
        port = allocate(t, now)
    if port == 0:
        return Outcome.EXHAUSTED
    outside = settings.outside
    if not mend_transport(ctx, ip, ip.source, outside, ports.source, port):
        return Outcome.MALFORMED
    ip.check = mended(ip.check, ip.source, settings.outside)
    ip.source = settings.outside
    ports.source = port
    return Outcome.OUT


def take_in(ctx: XdpContext, ip: Ipv4, ports: Ports, t: Tuple) -> u32:
    if (known := incoming.lookup(t)) is None:
        return Outcome.UNKNOWN
    known.used_ns = ktime_coarse_ns()
    address: u32 = known.address
    port: u16 = known.port
    if not mend_transport(ctx, ip, ip.target, address, ports.target, port):
        return Outcome.MALFORMED
    ip.check = mended(ip.check, ip.target, address)
    ip.target = address
    ports.target = port
    return Outcome.IN


def translate(ctx: XdpContext, ip: Ipv4) -> u32:
    if ip.protocol not in (IPPROTO_TCP, IPPROTO_UDP):
        return Outcome.PASSED
    if (ports := ctx.at(IP_OFFSET + 20, Ports)) is None:
        return Outcome.MALFORMED
    t = Tuple(
        source=ip.source,
        target=ip.target,
        source_port=ports.source,
        target_port=ports.target,
        protocol=ip.protocol,
    )
    if ip.target == settings.outside:
        return take_in(ctx, ip, ports, t)
    if ip.source & settings.mask == settings.network:
        return send_out(ctx, ip, ports, t)
    return Outcome.PASSED


@xdp
def masquerade(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None or ip.version_length != 0x45:
        return XdpAction.PASS
    outcome = translate(ctx, ip)
    outcomes[outcome] += 1
    if outcome in (Outcome.EXHAUSTED, Outcome.MALFORMED):
        return XdpAction.DROP
    return XdpAction.PASS
