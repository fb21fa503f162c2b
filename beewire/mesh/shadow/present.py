"""Whether a network namespace has any rules at all: asked of the kernel, in microseconds.

To read rules takes programs, and their start milliseconds. Most namespaces have none.
"""

import os
import socket
import struct
from pathlib import Path

from beewire.mesh.netns import visit

_NETFILTER = 12  # NETLINK_NETFILTER
_GETTABLE = 10 << 8 | 1  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE
_DONE, _ERROR = 3, 2  # NLMSG_DONE, NLMSG_ERROR
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_FAMILY = struct.Struct("=BBH")  # struct nfgenmsg: of all families
_LEGACY = ("ip_tables_names", "ip6_tables_names")


def has_rules(netns: Path) -> bool:
    """Whether a namespace has a table of iptables-legacy's or of nftables'.

    Raises:
        MeshError: there is no such namespace.
    """
    return visit(netns, lambda: _has_legacy() or _has_nftables())


def _has_legacy() -> bool:
    for name in _LEGACY:
        try:
            fd = os.open(f"/proc/thread-self/net/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # this kernel was built without
            continue
        try:
            if os.read(fd, 1):
                return True
        finally:
            os.close(fd)
    return False


def _has_nftables() -> bool:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    try:
        with socket.socket(socket.AF_NETLINK, kind, _NETFILTER) as asking:
            size = _HEADER.size + _FAMILY.size
            head = _HEADER.pack(size, _GETTABLE, _REQUEST_DUMP, 1, 0)
            asking.send(head + _FAMILY.pack(0, 0, 0))
            answer = asking.recv(1 << 16)
    except OSError:  # this kernel was built without
        return False
    return _HEADER.unpack_from(answer)[1] not in (_DONE, _ERROR)
