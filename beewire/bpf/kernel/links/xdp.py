"""XDP programs on a network interface, which takes one for each mode."""

import errno
from enum import IntEnum

from beewire.bpf.kernel.links.base import Link, LinkKind, create_link
from beewire.bpf.kernel.links.interface import interface_index
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind
from beewire.errors import AttachError, KernelError, NotPermitted
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.kernel.links.info import LinkInfo


class XdpMode(IntEnum):
    """Where XDP runs: `XDP_FLAGS_SKB_MODE`, `_DRV_MODE`, `_HW_MODE`."""

    AUTO = 0  # in the driver where it can, else generic
    GENERIC = 1 << 1  # after the kernel has made an skb: any interface, slower
    NATIVE = 1 << 2  # in the driver, or not at all
    OFFLOADED = 1 << 3  # on the card itself, or not at all


def attach_xdp(
    program: Program,
    interface: str | int,
    mode: XdpMode = XdpMode.AUTO,
    *,
    as_link: bool = True,
) -> Link:
    """Run `program` on every packet that arrives at an interface.

    `interface` is a name or index in the network namespace of this thread. `link.info`
    tells the mode that was chosen. `as_link=False` takes the older way (rtnetlink), which
    is also the fallback for kernels without XDP links (before Linux 5.9): `link.kind` is
    "xdp.netlink" then, and the program stays when the process dies.

    Raises:
        AttachError: no such interface, it has an XDP program already, its driver knows no
            XDP (NATIVE), or its packets are too long for it.
        NotPermitted: CAP_NET_ADMIN or CAP_BPF is missing.
    """
    index = interface_index(interface)
    place = f"interface {interface}"
    if as_link:
        try:
            link = create_link(program, index, AttachKind.XDP, place, mode)
        except NotPermitted:
            raise
        except (AttachError, KernelError) as error:
            if _knows_links(program, error):
                raise _refusal(program, index, interface, mode) or error from error
        else:
            return Link(link, LinkKind.XDP, f"{program.name!r} on {place}")
    return _by_netlink(program, index, interface, mode)


def _knows_links(program: Program, error: Exception) -> bool:
    """Whether the kernel has XDP links, and refuses for another reason.

    Without, LINK_CREATE knows no such attach type (EINVAL) or is no command at all.
    """
    refused = error.__cause__ if isinstance(error, AttachError) else error
    if getattr(refused, "errno", 0) != errno.EINVAL:
        return True
    from beewire.bpf.kernel import features  # noqa: PLC0415 - errors only

    if program.spec.kind.name != "XDP":
        return True
    return bool(features.attach_kind(AttachKind.XDP).available)


def _by_netlink(
    program: Program, index: int, interface: str | int, mode: XdpMode
) -> Link:
    from beewire.bpf.kernel.links import xdp_netlink  # noqa: PLC0415 - older kernels
    from beewire.bpf.kernel.links.direct import DirectLink  # noqa: PLC0415
    from beewire.bpf.kernel.netlink import Route  # noqa: PLC0415

    place = f"interface {interface}"
    about = f"attach {program.name!r} to {place}"
    route = Route()  # of this namespace, also where the link is closed in another

    def put() -> None:
        flags = mode | xdp_netlink.IF_NONE
        try:
            xdp_netlink.set_xdp(route, index, program.fd, flags, about)
        except NotPermitted:
            raise
        except KernelError as error:
            told = _refusal(program, index, interface, mode)
            raise told or AttachError(str(error)) from error

    def take_off(fd: int) -> None:
        xdp_netlink.take_off(route, index, fd, mode)

    def replace(other: Program, fd: int) -> None:
        change = f"put {other.name!r} in the place of {program.name!r} on {place}"
        xdp_netlink.set_xdp(route, index, other.fd, mode, change, expected_fd=fd)

    def tell(number: int) -> "LinkInfo":
        from beewire.bpf.kernel.links.info import xdp_info  # noqa: PLC0415 - rare

        return xdp_info(LinkKind.UNSPEC, 0, number, index)

    return DirectLink(
        program,
        "xdp.netlink",
        f"{program.name!r} on {place}",
        put=put,
        take_off=take_off,
        replace=replace,
        tell=tell,
        held_open=(route.close,),
    )


def _refusal(
    program: Program, index: int, interface: str | int, mode: XdpMode
) -> AttachError | None:
    """Why an interface refuses an XDP program, in words; None where nothing is known."""
    from beewire.bpf.kernel.links import xdp_netlink  # noqa: PLC0415 - errors only
    from beewire.bpf.kernel.links.query import named  # noqa: PLC0415

    about = f"cannot attach {program.name!r} to interface {interface}"
    there = xdp_netlink.xdp_programs(index)
    if there:
        who = " and ".join(f"{named(each.program_id)} ({each.mode})" for each in there)
        return AttachError(
            f"{about}: it takes one XDP program, and another is there already: {who}. "
            "End that one (`beewire links` shows its owner; "
            f"detach.xdp({interface!r}) takes one off that no link holds), or run "
            "several in one XdpChain"
        )
    number, words = xdp_netlink.why_refused(index, program.fd, mode)
    said = f" (the kernel: {words!r})" if words else ""
    if mode is XdpMode.OFFLOADED:
        return AttachError(
            f"{about}: its card does not run it{said}; XdpMode.NATIVE runs in the driver, "
            "XdpMode.GENERIC on any interface"
        )
    if number == errno.ERANGE or "MTU" in words:
        return AttachError(
            f"{about}: {_too_long(program, xdp_netlink.mtu(index), said)}"
        )
    if number == errno.EOPNOTSUPP and mode is XdpMode.NATIVE:
        return AttachError(
            f"{about}: its driver knows no XDP{said}; XdpMode.GENERIC works on any "
            "interface"
        )
    return AttachError(f"{about}{said}; XdpMode.GENERIC may work") if words else None


def _too_long(program: Program, mtu: int, said: str) -> str:
    pieces = "" if program.spec.flags & _FRAGS else (
        "make it a program of section xdp.frags (@xdp_frags), which takes packets in "
        "pieces (Linux 5.18), "
    )  # fmt: skip
    return (
        f"packets may be {mtu} bytes long (its MTU), and a native program sees a packet in "
        f"one page, with room for 256 bytes before it{said}; lower the MTU of both ends "
        f"(`ip link set dev ... mtu 1500`), {pieces}or use XdpMode.GENERIC"
    )


_FRAGS = 1 << 5  # BPF_F_XDP_HAS_FRAGS
