"""Addresses as the data path holds them, and as system calls do.

Words are in network order, IPv4 stands as `::ffff:a.b.c.d`, so that one code path serves
AF_INET, AF_INET6 and v4-mapped sockets. Ports are in network order.
"""

from beewire.bpf import Struct, array, htonl, u16, u32, u64

AF_INET = 2
AF_INET6 = 10
MAPPED = htonl(0xFFFF)  # the third word of ::ffff:a.b.c.d
NET8 = htonl(0xFF000000)
LOOPBACK_NET = htonl(0x7F000000)


class Address(Struct):
    """An IPv6 address, or an IPv4 one mapped into it."""

    words: list[u32] = array(u32, 4, default=0)


class Endpoint(Struct):
    """An address and a port."""

    address: Address = Address()
    port: u32 = 0


class SockaddrIn(Struct):
    """`struct sockaddr_in`."""

    family: u16
    port: u16 = 0
    addr: u32 = 0
    zero: u64 = 0


class SockaddrIn6(Struct):
    """`struct sockaddr_in6`."""

    family: u16
    port: u16 = 0
    flowinfo: u32 = 0
    addr: list[u32] = array(u32, 4, default=0)
    scope: u32 = 0
