"""Count HTTP requests by method, and drop those for paths under /admin."""

from enum import IntEnum

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
from corpus.headers import ETH_P_IP, IP_OFFSET, IPPROTO_TCP, Ethernet, Ipv4, Tcp


class Method(IntEnum):
    OTHER = 0
    GET = 1
    HEAD = 2
    POST = 3
    PUT = 4
    DELETE = 5
    OPTIONS = 6
    PATCH = 7


class Word(Struct):
    value: u32


class Path(Struct):
    bytes: bytes = array(u8, 6)


def word(text: str) -> int:
    """Four characters as they are read from memory."""
    return int.from_bytes(text.encode(), "little")


class Start(IntEnum):
    GET = word("GET ")
    HEAD = word("HEAD")
    POST = word("POST")
    PUT = word("PUT ")
    DELETE = word("DELE")
    OPTIONS = word("OPTI")
    PATCH = word("PATC")


ADMIN = b"/admin"

requests = PerCpuArray[u64](max_entries=len(Method))


def method_of(first: u32) -> u32:
    match first:
        case Start.GET:
            return Method.GET
        case Start.HEAD:
            return Method.HEAD
        case Start.POST:
            return Method.POST
        case Start.PUT:
            return Method.PUT
        case Start.DELETE:
            return Method.DELETE
        case Start.OPTIONS:
            return Method.OPTIONS
        case Start.PATCH:
            return Method.PATCH
        case _:
            return Method.OTHER


def path_offset(method: u32) -> u32:
    """Where the path begins in the request line: behind the method and a space."""
    match method:
        case Method.GET | Method.PUT:
            return 4
        case Method.HEAD | Method.POST:
            return 5
        case Method.PATCH:
            return 6
        case Method.DELETE:
            return 7
        case _:
            return 8


def is_admin(path: Path) -> bool:
    return (
        path.bytes[0] == ADMIN[0]
        and path.bytes[1] == ADMIN[1]
        and path.bytes[2] == ADMIN[2]
        and path.bytes[3] == ADMIN[3]
        and path.bytes[4] == ADMIN[4]
        and path.bytes[5] == ADMIN[5]
    )


@xdp
def http_methods(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None or ip.protocol != IPPROTO_TCP:
        return XdpAction.PASS
    if ip.version_length != 0x45 or (tcp := ctx.at(IP_OFFSET + 20, Tcp)) is None:
        return XdpAction.PASS
    payload = IP_OFFSET + 20 + (tcp.offset >> 4) * 4
    if (first := ctx.at(payload, Word)) is None:
        return XdpAction.PASS
    method = method_of(first.value)
    requests[method] += 1
    if method == Method.OTHER:
        return XdpAction.PASS
    path = ctx.at(payload + path_offset(method), Path)
    if path is not None and is_admin(path):
        return XdpAction.DROP
    return XdpAction.PASS
