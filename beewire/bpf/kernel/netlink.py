"""rtnetlink: interfaces, filters and routes of the network namespace of this thread.

with Route() as route:
    for body in route.dump(GETLINK, IFINFO.pack(0, 0, 0, 0, 0)):
        print(attributes(body[IFINFO.size :]))
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator

from beewire.bpf.kernel import explain, privilege, syscall
from beewire.bpf.kernel.descriptor import Closing
from beewire.errors import KernelError, NotPermitted

# Messages of linux/rtnetlink.h.
NEWLINK, GETLINK, SETLINK = 16, 18, 19
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWQDISC, DELQDISC, GETQDISC = 36, 37, 38
NEWTFILTER, DELTFILTER, GETTFILTER = 44, 45, 46

# Flags of requests that make something.
REPLACE, EXCLUSIVE, CREATE = 0x100, 0x200, 0x400

IFINFO = struct.Struct("=BxHiII")  # struct ifinfomsg
TCMSG = struct.Struct("=BxxxiIII")  # struct tcmsg
RTMSG = struct.Struct("=BBBBBBBBI")  # struct rtmsg

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_REQUEST, _ACK, _ECHO, _DUMP = 0x1, 0x4, 0x8, 0x300
_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR
_ERROR, _DONE = 2, 3
_NESTED, _KIND = 0x8000, 0x3FFF
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_MESSAGE = 1  # NLMSGERR_ATTR_MSG
_ROOM = 1 << 16
_SECONDS = 5.0  # the kernel answers at once; what does not come is not waited for

_Message = tuple[int, int, bytes]  # kind, flags, body


class Route(Closing):
    """A conversation with rtnetlink; a context manager that ends it."""

    def __init__(self) -> None:
        self._socket = syscall.open_socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._number = 0
        self._socket.settimeout(_SECONDS)
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)

    def change(
        self, kind: int, body: bytes, about: str, *, flags: int = 0
    ) -> bytes | None:
        """Ask for a change: the object as it is afterwards, where the kernel tells it.

        Raises:
            NotPermitted: CAP_NET_ADMIN is missing.
            KernelError: the kernel refuses; with the words that it gives.
        """
        told: bytes | None = None
        for found, _, content in self._ask(kind, body, flags | _ACK | _ECHO):
            if found == _ERROR:
                _check(kind, content, about)
                return told
            told = content
        return told

    def try_change(self, kind: int, body: bytes, *, flags: int = 0) -> int:
        """As `change`: 0, or -errno."""
        try:
            self.change(kind, body, "", flags=flags)
        except KernelError as error:
            return -(error.errno or errno.EIO)
        return 0

    def get(self, kind: int, body: bytes, about: str) -> bytes:
        """One object.

        Raises:
            KernelError: there is none.
        """
        for found, _, content in self._ask(kind, body, 0):
            if found == _ERROR:
                _check(kind, content, about)
            return content
        return b""

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """All objects of a kind that fit `body`.

        Raises:
            KernelError: the kernel refuses.
        """
        out: list[bytes] = []
        for _ in range(10):  # what changed meanwhile is read again
            torn = False
            out.clear()
            for found, flags, content in self._ask(kind, body, _DUMP):
                torn = torn or bool(flags & _INTERRUPTED)
                if found == _ERROR:
                    _check(kind, content, "list what there is")
                if found in (_ERROR, _DONE):
                    break
                out.append(content)
            if not torn:
                break
        return out

    def _ask(self, kind: int, body: bytes, flags: int) -> Iterator[_Message]:
        self._number += 1
        length = _HEADER.size + len(body)
        header = _HEADER.pack(length, kind, flags | _REQUEST, self._number, 0)
        self._socket.send(header + body)
        while True:
            data, at = self._socket.recv(_ROOM), 0
            while at + _HEADER.size <= len(data):
                size, found, marks, number, _ = _HEADER.unpack_from(data, at)
                if number == self._number:
                    yield found, marks, data[at + _HEADER.size : at + size]
                at += (max(size, _HEADER.size) + 3) & ~3

    def close(self) -> None:
        """End it. Closing twice does nothing."""
        self._socket.close()


def attribute(kind: int, content: bytes) -> bytes:
    """A `struct nlattr`, padded."""
    size = _ATTRIBUTE.size + len(content)
    return _ATTRIBUTE.pack(size, kind) + content + bytes(-size % 4)


def number(kind: int, value: int) -> bytes:
    """An attribute that is a u32."""
    return attribute(kind, struct.pack("=I", value))


def text(kind: int, value: str) -> bytes:
    """An attribute that is a text with its NUL."""
    return attribute(kind, value.encode() + b"\0")


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute of attributes."""
    return attribute(kind | _NESTED, b"".join(parts))


def attributes(data: bytes) -> dict[int, bytes]:
    """The content of attributes by kind."""
    found, at = {}, 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            break
        found[kind & _KIND] = data[at + _ATTRIBUTE.size : at + size]
        at += (size + 3) & ~3
    return found


def integer(content: bytes | None) -> int:
    """The u32 that is an attribute's content; 0 where it is not there."""
    return struct.unpack("=I", content[:4])[0] if content else 0


def _check(kind: int, content: bytes, about: str) -> None:
    """Raise what an answer of NLMSG_ERROR says; nothing where it is an acknowledgement."""
    code = -struct.unpack_from("=i", content)[0]
    if code == 0:
        return
    said = attributes(content[4 + _HEADER.size :]).get(_MESSAGE, b"")
    words = said.rstrip(b"\0").decode(errors="replace").rstrip(".")
    if code == errno.EPERM:
        why = privilege.why_forbidden(("CAP_NET_ADMIN",))
        raise NotPermitted(
            code, _NAMES.get(kind, "rtnetlink"), f"cannot {about}: {why}"
        )
    name = errno.errorcode.get(code, str(code))
    why = f"the kernel says {words!r}" if words else explain.reason(code)
    raise NetlinkError(
        code, _NAMES.get(kind, "rtnetlink"), f"cannot {about}: {why} ({name})", words
    )


class NetlinkError(KernelError):
    """rtnetlink refused; `words` are the kernel's own, or ""."""

    def __init__(self, errno: int, command: str, message: str, words: str) -> None:
        super().__init__(errno, command, message)
        self.words = words


_NAMES = {
    GETLINK: "RTM_GETLINK",
    SETLINK: "RTM_SETLINK",
    NEWROUTE: "RTM_NEWROUTE",
    DELROUTE: "RTM_DELROUTE",
    NEWQDISC: "RTM_NEWQDISC",
    DELQDISC: "RTM_DELQDISC",
    NEWTFILTER: "RTM_NEWTFILTER",
    DELTFILTER: "RTM_DELTFILTER",
}


def interface_names() -> list[str]:
    """The network interfaces of this thread's namespace."""
    with Route() as route:
        bodies = route.dump(GETLINK, IFINFO.pack(0, 0, 0, 0, 0))
    names = (attributes(body[IFINFO.size :]).get(3, b"") for body in bodies)
    return [os.fsdecode(name.rstrip(b"\0")) for name in names]
