"""Features of the selftests: numbers, structs, texts, packets."""

from beewire.bpf import (
    Array,
    RawTracepoint,
    Struct,
    Union,
    XdpAction,
    XdpContext,
    array,
    be16,
    bits,
    bswap64,
    current_comm,
    i8,
    i16,
    i32,
    i64,
    ntohs,
    overlay,
    raw_tracepoint,
    sizeof,
    u8,
    u16,
    u32,
    u64,
    xdp,
)
from tests.coverage.packets import Ethernet, Ipv4, Tcp


class Numbers(Struct):
    small: i8
    short: i16
    word: i32
    long: i64


class Header(Struct, packed=True):
    kind: u8
    length: u32
    next: u16


class Bits(Struct):
    low: u8 = bits(3)
    high: u8 = bits(5)
    word: u32 = bits(17)


class Grid(Struct):
    cells: list[list[u32]] = array(array(u32, 4), 3)


class Address(Union):
    v4: u32
    words: list[u32] = array(u32, 4)


class Peer(Struct):
    family: u32
    address: Address
    cookie: u64
    halves: list[u32] = overlay("cookie", array(u32, 2))


numbers = Array[Numbers](max_entries=1)
grids = Array[Grid](max_entries=1)


@xdp
def signed_loads(ctx: XdpContext) -> XdpAction:
    if (it := numbers.lookup(0)) is None:
        return XdpAction.DROP
    it.small, it.short, it.word, it.long = -1, -2, -3, -4
    if it.small < 0 and it.short + it.word + it.long == -9:
        return XdpAction.PASS
    return XdpAction.DROP


@xdp
def signed_division(ctx: XdpContext) -> XdpAction:
    a: i64 = -41
    b: i64 = i64(ctx.ingress_ifindex) * 0 + 8
    if a // b == -5 and a % b == -1:
        return XdpAction.PASS
    return XdpAction.DROP


@xdp
def division_by_zero(ctx: XdpContext) -> XdpAction:
    zero = ctx.length * 0
    if ctx.length // zero == 0 and ctx.length % zero == ctx.length:
        return XdpAction.PASS
    return XdpAction.DROP


@xdp
def arithmetic_of_32_bits(ctx: XdpContext) -> XdpAction:
    word: u32 = ctx.length
    word = word * 0x9E3779B1 + 0xFFFFFFFF
    if word == (u64(ctx.length) * 0x9E3779B1 + 0xFFFFFFFF) & 0xFFFFFFFF:
        return XdpAction.PASS
    return XdpAction.DROP


@xdp
def byte_swaps(ctx: XdpContext) -> XdpAction:
    if bswap64(0x0102030405060708) != 0x0807060504030201:
        return XdpAction.DROP
    return XdpAction.PASS if ntohs(0x3412) == 0x1234 else XdpAction.DROP


@xdp
def network_order(ctx: XdpContext) -> XdpAction:
    if (frame := ctx.at(0, Ethernet)) is None:
        return XdpAction.ABORTED
    if frame.protocol == be16(0x0800):
        return XdpAction.PASS
    return XdpAction.DROP


@xdp
def packed_structs(ctx: XdpContext) -> XdpAction:
    header = Header(kind=1, length=ctx.length, next=2)
    if sizeof(Header) == 7 and header.length + header.next == ctx.length + 2:
        return XdpAction.PASS
    return XdpAction.DROP


@xdp
def bit_fields(ctx: XdpContext) -> XdpAction:
    flags = Bits(low=5, high=17, word=70000)
    flags.word += 1
    if flags.low == 5 and flags.high == 17 and flags.word == 70001:
        return XdpAction.PASS
    return XdpAction.DROP


@xdp
def arrays_of_arrays(ctx: XdpContext) -> XdpAction:
    if (grid := grids.lookup(0)) is None:
        return XdpAction.ABORTED
    for i in range(4):
        grid.cells[2][i] = i
    return XdpAction.PASS if grid.cells[2][3] == 3 else XdpAction.DROP


@xdp
def unions(ctx: XdpContext) -> XdpAction:
    peer = Peer(family=2, address=Address(v4=7), cookie=1 << 32)
    if peer.address.words[0] == 7 and peer.halves[1] == 1:
        return XdpAction.PASS
    return XdpAction.DROP


@xdp
def indices_that_vary(ctx: XdpContext) -> XdpAction:
    octets = array(u32, 8)
    for i in range(8):
        octets[i] = i
    return XdpAction.PASS if octets[ctx.length & 7] < 8 else XdpAction.DROP


@raw_tracepoint("sys_enter")
def texts_compared(ctx: RawTracepoint) -> int:
    comm = current_comm()
    return 1 if comm != "curl" and not comm.startswith("wget") else 0


@xdp
def packets_read_directly(ctx: XdpContext) -> XdpAction:
    if (ip := ctx.at(14, Ipv4)) is None or ip.protocol != 6:
        return XdpAction.ABORTED
    if (tcp := ctx.at(14 + ip.words * 4, Tcp)) is None:
        return XdpAction.ABORTED
    return XdpAction.PASS if ntohs(tcp.target) == 80 else XdpAction.DROP


@xdp
def packets_copied(ctx: XdpContext) -> XdpAction:
    if (ip := ctx.read(14, Ipv4)) is None:
        return XdpAction.ABORTED
    ip.ttl -= 1
    if not ctx.write(14, ip):
        return XdpAction.ABORTED
    if (after := ctx.at(14, Ipv4)) is None:
        return XdpAction.ABORTED
    return XdpAction.PASS if after.ttl == 63 else XdpAction.DROP
