"""A pod's network namespace, seen from outside through sockets that were made inside.

A socket stays in the namespace that it was made in, whoever holds it: one visit is
enough to ask rtnetlink, the socket tables and the namespace's cookie ever after.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple, Self

from beewire.errors import MeshError
from beewire.mesh.netns import cookie_of, visit

_NETLINK_ROUTE, _NETLINK_SOCK_DIAG = 0, 4
_GETADDR, _SOCK_DIAG_BY_FAMILY, _SOCK_DESTROY = 22, 20, 21
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_DAD_FAILED = 0x08
_UNIVERSE = 0  # RT_SCOPE_UNIVERSE: neither loopback nor link-local
_SITE = 200
_DIAG = struct.Struct("=BBBxI")  # struct inet_diag_req_v2, before the socket's id
_DIAG_ID = struct.Struct("=2s2s16s16sI8s")  # struct inet_diag_sockid
_DIAG_MSG = struct.Struct("=BBBB")  # struct inet_diag_msg, before its id
_DIAG_TAIL = struct.Struct("=IIIII")  # expires, rqueue, wqueue, uid, inode
_MORE = _DIAG_MSG.size + _DIAG_ID.size + _DIAG_TAIL.size
_INET_DIAG_INFO = 2
_WITH_INFO = 1 << (_INET_DIAG_INFO - 1)
# struct tcp_info: tcpi_bytes_received, tcpi_bytes_sent, tcpi_bytes_retrans (Linux 4.19).
_INFO = (128, 200, 208)
_INFO_END = 216
_INET_DIAG_CGROUP_ID = 21  # since Linux 5.9 (6e3a401fc8af)
_ROOM = 1 << 16
_TIMEOUT_S = 5.0

# Where Istio's sidecars call from: on `lo` of every pod, and no address of the pod's.
ENVOY_INBOUND6 = IPv6Address("::6")

TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
ESTABLISHED, TIME_WAIT, CLOSE, LISTEN = 1, 6, 7, 10


class SocketState(NamedTuple):
    """One TCP or UDP socket of a namespace, as the kernel's tables have it.

    `cookie` is its own number, never used twice; `cgroup` the id of the cgroup that it
    was made in, 0 where the kernel does not tell. An `inode` of 0 has no owner any more.
    """

    protocol: int
    state: int
    local: IPv4Address | IPv6Address
    local_port: int
    remote: IPv4Address | IPv6Address
    remote_port: int
    cookie: int
    uid: int
    inode: int
    cgroup: int
    key: bytes  # struct inet_diag_sockid, by which it can be destroyed
    family: int


class NetworkView:
    """What a network namespace says of itself; a context manager that ends it.

    Raises:
        MeshError: there is no such namespace, or it may not be entered.
    """

    def __init__(self, netns: Path) -> None:
        self.path = netns
        self._route, self._diag = visit(netns, _sockets)
        self.inode = netns.stat().st_ino

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it. Closing twice does nothing."""
        self._route.close()
        self._diag.close()

    @property
    def cookie(self) -> int:
        """The number by which programs know the namespace.

        Raises:
            MeshError: the kernel does not tell (before Linux 5.14).
        """
        return cookie_of(self._route)

    def addresses(self) -> tuple[str, ...]:
        """The namespace's own addresses, without loopback and link-local, IPv4 first."""
        found = []
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _ADDRESS.pack(family, 0, 0, 0, 0)
            for message in _ask(self._route, _GETADDR, body, _DUMP):
                _, _, _, scope, _ = _ADDRESS.unpack_from(message)
                parts = _attributes(message[_ADDRESS.size :])
                flags = int.from_bytes(parts.get(_IFA_FLAGS, b""), "little")
                if scope not in (_UNIVERSE, _SITE) or flags & _DAD_FAILED:
                    continue
                address = ip_address(parts.get(_IFA_LOCAL) or parts[_IFA_ADDRESS])
                if not address.is_loopback and address != ENVOY_INBOUND6:
                    found.append(str(address))
        return tuple(dict.fromkeys(found))

    def sockets(
        self, protocol: int = TCP, *, listening: bool = False
    ) -> Iterator[SocketState]:
        """The namespace's sockets of a protocol, IPv4 and IPv6, without TIME_WAIT.

        With `listening`, those of TCP that listen: they are found without all the others.

        Raises:
            MeshError: the kernel has no such table (CONFIG_INET_DIAG).
        """
        for family in (socket.AF_INET, socket.AF_INET6):
            # Of a busy pod most are in TIME_WAIT: the kernel leaves them out.
            states = 1 << LISTEN if listening else 0xFFFF_FFFF & ~(1 << TIME_WAIT)
            body = _DIAG.pack(family, protocol, 0, states) + bytes(_DIAG_ID.size)
            for message in _ask(self._diag, _SOCK_DIAG_BY_FAMILY, body, _DUMP):
                yield _socket_state(message, protocol)

    def carried(self) -> Iterator[tuple[int, int, int]]:
        """Cookie, bytes sent once each, and bytes received, of each established connection.

        Raises:
            MeshError: the kernel has no such table (CONFIG_INET_DIAG).
        """
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _DIAG.pack(family, TCP, _WITH_INFO, ~(1 << LISTEN) & 0xFFFF_FFFF)
            body += bytes(_DIAG_ID.size)
            for message in _ask(self._diag, _SOCK_DIAG_BY_FAMILY, body, _DUMP):
                more = _attributes(message[_MORE:])
                if len(info := more.get(_INET_DIAG_INFO, b"")) < _INFO_END:
                    continue  # TIME_WAIT
                received, sent, again = (
                    int.from_bytes(info[at : at + 8], "little") for at in _INFO
                )
                yield _socket_state(message, TCP).cookie, sent - again, received

    def has_sockets(self) -> bool:
        """Whether there is a TCP socket: two files, where the table of all is long."""
        return any(visit(self.path, _sockets_in_use))

    def destroy(self, found: SocketState) -> bool:
        """End a connection at once: both ends see it aborted. False: it was gone.

        Raises:
            MeshError: the kernel cannot (CONFIG_INET_DIAG_DESTROY).
        """
        body = _DIAG.pack(found.family, found.protocol, 0, 0xFFFF_FFFF) + found.key
        try:
            list(_ask(self._diag, _SOCK_DESTROY, body, _ACK))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise MeshError(
                "this kernel does not close another's connections: SOCK_DESTROY is"
                f" refused ({error.strerror})"
            ) from error
        return True


def _sockets() -> tuple[socket.socket, socket.socket]:
    return _netlink(_NETLINK_ROUTE), _netlink(_NETLINK_SOCK_DIAG)


def _sockets_in_use() -> list[bool]:
    """Of IPv4 and of IPv6, whether the calling thread's namespace has TCP sockets."""
    found = []
    for name in ("sockstat", "sockstat6"):
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            text = Path(f"/proc/thread-self/net/{name}").read_text()
            # TCP: inuse 3 orphan 0 ...
            found += [
                line.split()[2] != "0"
                for line in text.splitlines()
                if line[:3] == "TCP"
            ]
    return found


def _netlink(protocol: int) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    sock = socket.socket(socket.AF_NETLINK, kind, protocol)
    sock.settimeout(_TIMEOUT_S)
    return sock


def _ask(sock: socket.socket, kind: int, body: bytes, flags: int) -> Iterator[bytes]:
    sock.send(
        _HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST, 1, 0) + body
    )
    while True:
        data, at = sock.recv(_ROOM), 0
        while at + _HEADER.size <= len(data):
            size, found, _, _, _ = _HEADER.unpack_from(data, at)
            content = data[at + _HEADER.size : at + size]
            if found == _ERROR:
                number = -int.from_bytes(content[:4], "little", signed=True)
                if number:
                    raise OSError(number, os.strerror(number))
                return
            if found == _DONE:
                return
            yield content
            at += (max(size, _HEADER.size) + 3) & ~3


def _attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = data[at + _ATTRIBUTE.size : at + size]
        at += (size + 3) & ~3
    return found


def _socket_state(message: bytes, protocol: int) -> SocketState:
    family, state, _, _ = _DIAG_MSG.unpack_from(message)
    key = message[_DIAG_MSG.size : _DIAG_MSG.size + _DIAG_ID.size]
    local_port, remote_port, local, remote, _, cookie = _DIAG_ID.unpack(key)
    at = _DIAG_MSG.size + _DIAG_ID.size
    _, _, _, uid, inode = _DIAG_TAIL.unpack_from(message, at)
    more = _attributes(message[at + _DIAG_TAIL.size :])
    width = 4 if family == socket.AF_INET else 16
    low, high = struct.unpack("=II", cookie)
    return SocketState(
        protocol,
        state,
        ip_address(local[:width]),
        int.from_bytes(local_port, "big"),
        ip_address(remote[:width]),
        int.from_bytes(remote_port, "big"),
        high << 32 | low,
        uid,
        inode,
        int.from_bytes(more.get(_INET_DIAG_CGROUP_ID, b""), "little"),
        key,
        family,
    )


def inode_of(netns: Path) -> int:
    """The inode number of a network namespace; 0 where there is none."""
    with contextlib.suppress(OSError):
        return netns.stat().st_ino
    return 0
