"""XDP programs by rtnetlink: what is there, and the older way to attach one."""

import errno
import struct

from beewire.bpf.kernel import netlink
from beewire.bpf.kernel.netlink import IFINFO, Route
from beewire.errors import KernelError
from beewire.rows import Row

# linux/if_link.h
_IFLA_MTU, _IFLA_XDP = 4, 43
_FD, _ATTACHED, _FLAGS, _PROG_ID, _EXPECTED_FD = 1, 2, 3, 4, 8
_IDS = {5: "native", 6: "generic", 7: "offloaded"}
_MODES = {1: "native", 2: "generic", 3: "offloaded"}
IF_NONE, REPLACE = 1 << 0, 1 << 4  # XDP_FLAGS_UPDATE_IF_NOEXIST, XDP_FLAGS_REPLACE


class XdpState(Row):
    """An XDP program on an interface, and where it runs."""

    program_id: int
    mode: str


def xdp_programs(ifindex: int) -> list[XdpState]:
    """What is on an interface: nothing, one program, or one for each mode.

    Raises:
        KernelError: there is no such interface.
    """
    return decode_programs(_link(ifindex))


def decode_programs(told: dict[int, bytes]) -> list[XdpState]:
    """As `xdp_programs`, from the attributes that an interface is told with."""
    found = netlink.attributes(told.get(_IFLA_XDP, b""))
    each = [
        XdpState(netlink.integer(found[kind]), mode)
        for kind, mode in _IDS.items()
        if kind in found
    ]
    number = netlink.integer(found.get(_PROG_ID))
    if each or not number:
        return each
    return [XdpState(number, _MODES.get(found.get(_ATTACHED, b"\0")[0], ""))]


def mtu(ifindex: int) -> int:
    """How long a packet of the interface may be, in bytes, without its Ethernet header."""
    return netlink.integer(_link(ifindex).get(_IFLA_MTU))


def _link(ifindex: int) -> dict[int, bytes]:
    about = f"ask about interface {ifindex}"
    with Route() as route:
        body = route.get(netlink.GETLINK, IFINFO.pack(0, 0, ifindex, 0, 0), about)
    return netlink.attributes(body[IFINFO.size :])


def set_xdp(
    route: Route,
    ifindex: int,
    fd: int,
    flags: int,
    about: str,
    *,
    expected_fd: int = -1,
) -> None:
    """Put the program `fd` on an interface, or take the one that is there off (-1).

    `flags` choose the mode; with `expected_fd` only that program gives way (Linux 5.7).

    Raises:
        NotPermitted: CAP_NET_ADMIN is missing.
        KernelError: the kernel refuses; with its own words.
    """
    parts = [netlink.attribute(_FD, struct.pack("=i", fd))]
    if expected_fd >= 0:
        flags |= REPLACE
        parts.append(netlink.attribute(_EXPECTED_FD, struct.pack("=i", expected_fd)))
    parts.append(netlink.number(_FLAGS, flags))
    body = IFINFO.pack(0, 0, ifindex, 0, 0) + netlink.nested(_IFLA_XDP, *parts)
    route.change(netlink.SETLINK, body, about)


# Another program is there, the program is gone, or the interface is.
_GONE = (errno.EEXIST, errno.EBUSY, errno.ENOENT, errno.ENODEV, errno.EINVAL)


def take_off(route: Route, ifindex: int, fd: int, mode: int) -> None:
    """Take the program `fd` off an interface; another one stays.

    Raises:
        KernelError: the kernel refuses.
    """
    about = f"take an XDP program off interface {ifindex}"
    try:
        set_xdp(route, ifindex, -1, mode, about, expected_fd=fd)
    except KernelError as error:
        if error.errno not in _GONE:
            raise


def why_refused(ifindex: int, fd: int, mode: int) -> tuple[int, str]:
    """The errno and the words with which the kernel refuses a program.

    bpf(2) gives no words: the older way is tried for them, and undone if it succeeds.
    """
    with Route() as route:
        try:
            set_xdp(route, ifindex, fd, mode | IF_NONE, "attach")
        except netlink.NetlinkError as error:
            return error.errno or 0, error.words
        except KernelError as error:
            return error.errno or 0, ""
        take_off(route, ifindex, fd, mode)
    return 0, ""
