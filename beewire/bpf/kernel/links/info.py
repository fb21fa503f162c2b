"""What the kernel knows of a link (`struct bpf_link_info`), typed by its kind."""

from collections.abc import Callable
from dataclasses import dataclass

from beewire.bpf.kernel import attr, places, syscall
from beewire.bpf.kernel.links import records
from beewire.bpf.kernel.links.kinds import LinkKind
from beewire.bpf.object import AttachKind

NETFILTER_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
DEFRAGMENT = 1  # BPF_F_NETFILTER_IP_DEFRAG


@dataclass(frozen=True)
class LinkInfo:
    """What is known of every link.

    A way of attaching that the kernel has no links for is of kind UNSPEC, and its id 0.
    """

    kind: LinkKind
    id: int
    program_id: int


@dataclass(frozen=True)
class InterfaceInfo(LinkInfo):
    """Of programs on a network interface: its index, and its name.

    The name is that in the network namespace of the thread that asks; "" where it has
    none there, or the interface is gone (index 0).
    """

    attach_kind: AttachKind
    ifindex: int
    interface: str


@dataclass(frozen=True)
class XdpInfo(InterfaceInfo):
    """Of an XDP program: `mode` is where it runs, "native", "generic" or "offloaded"."""

    mode: str


@dataclass(frozen=True)
class FilterInfo(InterfaceInfo):
    """Of a filter of tc: lower priorities run first, `handle` tells it from others."""

    priority: int
    handle: int


@dataclass(frozen=True)
class CgroupInfo(LinkInfo):
    """Of programs on a cgroup: its id (an inode number), and its directory.

    Once the link is detached the id is 0, and the path "".
    """

    attach_kind: AttachKind
    cgroup_id: int
    path: str


@dataclass(frozen=True)
class NetnsInfo(LinkInfo):
    """Of programs on a network namespace: its inode number, and what it is called.

    That is "netns NAME" where ip(8) named it, "this namespace", or the number again.
    Once the namespace is gone, or the link detached, it is 0 and "".
    """

    attach_kind: AttachKind
    netns_ino: int
    name: str


@dataclass(frozen=True)
class NetfilterInfo(LinkInfo):
    """Of programs at a hook of netfilter; `version` is that of IP, 4 or 6."""

    version: int
    hook: str
    priority: int
    defragment: bool


@dataclass(frozen=True)
class SockmapInfo(LinkInfo):
    """Of programs on a map of sockets."""

    attach_kind: AttachKind
    map_id: int


@dataclass(frozen=True)
class SocketInfo(LinkInfo):
    """Of programs on a socket: its inode number, as /proc/PID/fd shows it."""

    socket_ino: int


@dataclass(frozen=True)
class DeviceInfo(LinkInfo):
    """Of programs on an infrared receiver: the path of its device."""

    path: str


@dataclass(frozen=True)
class RouteInfo(LinkInfo):
    """Of programs on a route: "in", "out", "xmit" or "seg6local", and which route."""

    hook: str
    destination: str
    table: int
    ifindex: int


def link_info(fd: int) -> LinkInfo:
    """What the kernel knows of the link behind `fd`.

    Raises:
        KernelError: it is no link.
    """
    head = syscall.read_info(fd, attr.LINK_INFO)
    common = [attr.LINK_INFO.integer(head, name) for name in ("type", "id", "prog_id")]
    base = LinkInfo(LinkKind(common[0]), *common[1:])
    tell = _TELL.get(base.kind)
    return tell(fd, base) if tell else base


def _read(fd: int, record: attr.Record) -> dict[str, int]:
    found = record.unpack(syscall.read_info(fd, record))
    return {name: value for name, value in found.items() if isinstance(value, int)}


def _of_interface(fd: int, base: LinkInfo) -> InterfaceInfo:
    found = _read(fd, records.INTERFACE)
    index = found["ifindex"]
    if base.kind is LinkKind.XDP:
        return xdp_info(*_head(base), index)
    hook = AttachKind(found["attach_type"])
    return InterfaceInfo(*_head(base), hook, index, syscall.interface_name(index))


def xdp_info(kind: LinkKind, number: int, program_id: int, ifindex: int) -> XdpInfo:
    """An XDP program on an interface of this thread's namespace."""
    from beewire.bpf.kernel.links.xdp_netlink import xdp_programs  # noqa: PLC0415 - XDP

    name = syscall.interface_name(ifindex)
    there = xdp_programs(ifindex) if name else []
    modes = {each.program_id: each.mode for each in there}
    mode = modes.get(program_id, "")
    return XdpInfo(kind, number, program_id, AttachKind.XDP, ifindex, name, mode)


def _of_cgroup(fd: int, base: LinkInfo) -> CgroupInfo:
    found = _read(fd, records.CGROUP)
    number, hook = found["cgroup_id"], AttachKind(found["attach_type"])
    path = places.cgroup_path(number) if number else ""
    return CgroupInfo(*_head(base), hook, number, path)


def _of_netns(fd: int, base: LinkInfo) -> NetnsInfo:
    found = _read(fd, records.NETNS)
    number, hook = found["netns_ino"], AttachKind(found["attach_type"])
    name = places.namespace_name(number) if number else ""
    return NetnsInfo(*_head(base), hook, number, name)


def _of_netfilter(fd: int, base: LinkInfo) -> NetfilterInfo:
    found = _read(fd, records.NETFILTER)
    return NetfilterInfo(
        *_head(base),
        {2: 4, 10: 6}.get(found["pf"], 0),
        NETFILTER_HOOKS[found["hooknum"]],
        found["priority"],
        bool(found["flags"] & DEFRAGMENT),
    )


def _of_sockmap(fd: int, base: LinkInfo) -> SockmapInfo:
    found = _read(fd, records.SOCKMAP)
    hook = AttachKind(found["attach_type"])
    return SockmapInfo(*_head(base), hook, found["map_id"])


def _head(base: LinkInfo) -> tuple[LinkKind, int, int]:
    return base.kind, base.id, base.program_id


_TELL: dict[LinkKind, Callable[[int, LinkInfo], LinkInfo]] = {
    LinkKind.CGROUP: _of_cgroup,
    LinkKind.NETNS: _of_netns,
    LinkKind.XDP: _of_interface,
    LinkKind.TCX: _of_interface,
    LinkKind.NETKIT: _of_interface,
    LinkKind.NETFILTER: _of_netfilter,
    LinkKind.SOCKMAP: _of_sockmap,
}
