"""A layer 4 load balancer: rewrites packets to a backend that the flow's hash picks."""

from beewire.bpf import (
    Array,
    HashMap,
    LruHash,
    PerCpuHash,
    Struct,
    XdpAction,
    XdpContext,
    array,
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

RING = 256  # entries of a service's ring of backends
JHASH_INITVAL = 0xDEADBEEF


class Vip(Struct):
    address: u32
    port: u16
    protocol: u16


class Service(Struct):
    first: u32  # of its ring in `ring`
    flags: u32


class Backend(Struct):
    address: u32
    port: u16
    mac: bytes = array(u8, 6)


class Flow(Struct):
    source: u32
    target: u32
    ports: u32
    protocol: u32


class Traffic(Struct):
    packets: u64
    bytes: u64


class Mac(Struct):
    bytes: bytes = array(u8, 6)


services = HashMap[Vip, Service](max_entries=256)
ring = Array[u32](max_entries=16 * RING)
backends = Array[Backend](max_entries=256)
flows = LruHash[Flow, u32](max_entries=65536)
traffic = PerCpuHash[u32, Traffic](max_entries=256)


def rotate(x: u32, k: u32) -> u32:
    return x << k | x >> (32 - k)


def jhash_3words(first: u32, second: u32, third: u32, seed: u32) -> u32:
    """The kernel's hash of three words."""
    start: u32 = JHASH_INITVAL + (3 << 2) + seed
    a: u32 = first + start
    b: u32 = second + start
    c: u32 = third + start
    c = (c ^ b) - rotate(b, 14)
    a = (a ^ c) - rotate(c, 11)
    b = (b ^ a) - rotate(a, 25)
    c = (c ^ b) - rotate(b, 16)
    a = (a ^ c) - rotate(c, 4)
    b = (b ^ a) - rotate(a, 14)
    return (c ^ b) - rotate(b, 24)


def mended(check: u16, before: u32, after: u32) -> u32:
    """A checksum after one word of what it covers has changed (RFC 1624, eqn. 3)."""
    total: u32 = ~check & 0xFFFF
    total += (~before & 0xFFFF) + (~before >> 16 & 0xFFFF)
    total += (after & 0xFFFF) + (after >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pick(flow: Flow, service: Service) -> u32:
    """The backend of a flow: where it went before, or the ring's answer."""
    if (known := flows.lookup(flow)) is not None:
        return known.value
    h = jhash_3words(flow.source, flow.target, flow.ports, flow.protocol)
    if (entry := ring.lookup(service.first + h % RING)) is None:
        return 0
    backend: u32 = entry.value
    flows[flow] = backend
    return backend


def account(backend: u32, size: u32) -> None:
    if (seen := traffic.lookup(backend)) is not None:
        seen.packets += 1
        seen.bytes += size
    else:
        traffic[backend] = Traffic(packets=1, bytes=size)


@xdp
def balance(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None or ip.version_length != 0x45:
        return XdpAction.PASS
    if ip.protocol not in (IPPROTO_TCP, IPPROTO_UDP):
        return XdpAction.PASS
    if (ports := ctx.at(IP_OFFSET + 20, Ports)) is None:
        return XdpAction.PASS
    vip = Vip(address=ip.target, port=ports.target, protocol=ip.protocol)
    if (service := services.lookup(vip)) is None:
        return XdpAction.PASS
    flow = Flow(
        source=ip.source,
        target=ip.target,
        ports=ports.source << 16 | ports.target,
        protocol=ip.protocol,
    )
    index = pick(flow, service)
    if index == 0 or (backend := backends.lookup(index)) is None:
        return XdpAction.DROP
    if ip.protocol == IPPROTO_TCP:
        if (tcp := ctx.at(IP_OFFSET + 20, Tcp)) is None:
            return XdpAction.DROP
        check = mended(tcp.check, ip.target, backend.address)
        tcp.check = mended(check, tcp.target, backend.port)
    else:
        if (udp := ctx.at(IP_OFFSET + 20, Udp)) is None:
            return XdpAction.DROP
        if udp.check != 0:
            check = mended(udp.check, ip.target, backend.address)
            udp.check = mended(check, udp.target, backend.port)
    ip.check = mended(ip.check, ip.target, backend.address)
    ip.target = backend.address
    ports.target = backend.port
    eth.source = eth.target
    eth.target = backend.mac
    account(index, ctx.length)
    return XdpAction.TX
