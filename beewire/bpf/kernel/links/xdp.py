"""XDP programs on a network interface."""

from enum import IntEnum

from beewire.bpf.kernel import syscall
from beewire.bpf.kernel.links.base import Link, LinkKind, create_link
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind
from beewire.errors import AttachError, NotSupported


class XdpMode(IntEnum):
    """Where XDP runs: `XDP_FLAGS_SKB_MODE` or `XDP_FLAGS_DRV_MODE`."""

    AUTO = 0  # in the driver where it can, else generic
    GENERIC = 1 << 1  # after the kernel has made an skb: any interface, slower
    NATIVE = 1 << 2  # in the driver, or not at all


def attach_xdp(
    program: Program, interface: str | int, mode: XdpMode = XdpMode.AUTO
) -> Link:
    """Run `program` on every packet that arrives at an interface.

    `interface` is a name or index in the network namespace of this thread.

    Raises:
        AttachError: no such interface, it has an XDP program already, or its driver
            knows no XDP (NATIVE).
        NotPermitted: CAP_NET_ADMIN or CAP_BPF is missing.
        NotSupported: the kernel has no XDP links (before Linux 5.9).
    """
    index = interface_index(interface)
    place = f"interface {interface}"
    try:
        link = create_link(program, index, AttachKind.XDP, place, mode)
    except NotSupported as error:
        if mode is XdpMode.NATIVE:
            raise AttachError(
                f"cannot attach {program.name!r} to {place}: its driver knows no XDP; "
                "XdpMode.GENERIC works on any interface"
            ) from error
        raise
    return Link(link, LinkKind.XDP, f"{program.name!r} on {place}")


def interface_index(interface: str | int) -> int:
    """The index of an interface, given by either.

    Raises:
        AttachError: there is none.
    """
    if isinstance(interface, int):
        found = interface if syscall.interface_name(interface) else 0
    else:
        found = syscall.interface_index(interface)
    if found == 0:
        raise AttachError(
            f"there is no network interface {interface!r} in this network "
            "namespace; `ip link` shows those there are"
        )
    return found
