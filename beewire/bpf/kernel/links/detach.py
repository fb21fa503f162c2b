"""Take off what stayed attached: programs that no link holds, by where they are.

    from beewire.bpf.kernel.links import detach

    detach.xdp("eth0")
    detach.clsact("eth0", "ingress")
    detach.cgroup("/sys/fs/cgroup/pod", AttachKind.CGROUP_INET4_CONNECT)
    detach.route("10.1.0.0/16", "eth0")

Each gives the ids of the programs that it took off. `link` ends a link of any process.
"""

import errno

from beewire.bpf.kernel import attr, explain, ids, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.links import lwt, xdp_netlink
from beewire.bpf.kernel.links import socket as sockets
from beewire.bpf.kernel.links.cgroup import open_cgroup
from beewire.bpf.kernel.links.cgroup_direct import detach_direct
from beewire.bpf.kernel.links.clsact import filters, remove
from beewire.bpf.kernel.links.clsact import remove_qdisc as _remove_qdisc
from beewire.bpf.kernel.links.interface import interface_index
from beewire.bpf.kernel.links.lirc import open_device
from beewire.bpf.kernel.links.query import query
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.kernel.netlink import Route
from beewire.bpf.object import AttachKind
from beewire.errors import AttachError, KernelError, NotSupported

_MODES = {"generic": 1 << 1, "native": 1 << 2, "offloaded": 1 << 3}
_DIRECTIONS = {
    "ingress": AttachKind.TCX_INGRESS,
    "egress": AttachKind.TCX_EGRESS,
}

socket = sockets.detach_socket


def xdp(interface: str | int, *, program_id: int = 0) -> list[int]:
    """The XDP programs of an interface in this namespace, or the one with this id.

    Raises:
        AttachError: no such interface, or a link holds the program.
        NotPermitted: CAP_NET_ADMIN is missing.
    """
    index, done = interface_index(interface), []
    with Route() as route:
        for each in xdp_netlink.xdp_programs(index):
            if program_id not in (0, each.program_id):
                continue
            about = f"take program {each.program_id} off interface {interface}"
            try:
                xdp_netlink.set_xdp(route, index, -1, _MODES[each.mode], about)
            except KernelError as error:
                if error.errno != errno.EBUSY:
                    raise
                raise AttachError(
                    f"cannot {about}: a link holds it; `beewire links` shows which, and "
                    "detach.link(ID) ends it"
                ) from error
            done.append(each.program_id)
    return done


def clsact(
    interface: str | int, direction: str, *, program_id: int = 0, priority: int = 0
) -> list[int]:
    """The filters of clsact that run programs: all, or those of an id or priority.

    Raises:
        AttachError: no such interface.
        NotPermitted: CAP_NET_ADMIN is missing.
    """
    hook, index, done = _DIRECTIONS[direction], interface_index(interface), []
    with Route() as route:
        for each in filters(route, index, hook):
            wanted = program_id in (0, each.program_id) and priority in (
                0,
                each.priority,
            )
            if wanted and remove(route, index, hook, each):
                done.append(each.program_id)
    return done


def qdisc(interface: str | int) -> None:
    """The clsact qdisc of an interface, and everybody's filters with it."""
    with Route() as route:
        _remove_qdisc(route, interface_index(interface))


def cgroup(path: str | int, hook: AttachKind, *, program_id: int = 0) -> list[int]:
    """The programs of a cgroup at a hook that BPF_PROG_ATTACH put there, or one of them.

    Raises:
        AttachError: it is no cgroup, or a link holds the program.
        NotPermitted: CAP_NET_ADMIN is missing.
    """
    fd = syscall.duplicate(path) if isinstance(path, int) else open_cgroup(path)
    with Descriptor(fd):
        return _direct(fd, hook, f"cgroup {path}", program_id)


def sockmap(table: AnyMap, hook: AttachKind) -> list[int]:
    """The program of a map of sockets, where no link holds it.

    Raises:
        AttachError: a link holds the program.
        NotPermitted: CAP_NET_ADMIN is missing.
    """
    return _direct(table.fd, hook, f"map {table.name!r}", 0)


def lirc(device: str, *, program_id: int = 0) -> list[int]:
    """The programs of an infrared device ("/dev/lirc0"), or the one with this id.

    Raises:
        AttachError: there is no such device.
        NotPermitted: CAP_NET_ADMIN is missing.
    """
    with Descriptor(open_device(device)) as opened:
        return _direct(opened.fd, AttachKind.LIRC_MODE2, device, program_id)


def flow_dissector() -> list[int]:
    """The flow dissector of this thread's network namespace, where no link holds it.

    Raises:
        AttachError: a link holds the program.
        NotPermitted: CAP_NET_ADMIN is missing.
    """
    with Descriptor(syscall.open_file("/proc/thread-self/ns/net")) as namespace:
        found = query(namespace.fd, AttachKind.FLOW_DISSECTOR)
    hook, place = AttachKind.FLOW_DISSECTOR, "this network namespace"
    numbers = [each.id for each in found.programs] if found else []
    return [each for each in numbers if _detach(0, hook, each, place)]


def route(
    destination: str,
    interface: str | int,
    *,
    via: str = "",
    table: int = 254,
    metric: int = 0,
) -> None:
    """A route that a program was attached to (lwt), and its program with it.

    Raises:
        AttachError: no such interface.
        NotPermitted: CAP_NET_ADMIN is missing.
    """
    network = lwt.network(destination, via)
    path = lwt.Path(network, interface_index(interface), via, table, metric)
    with Route() as netlink:
        lwt.remove(netlink, path)


def link(number: int) -> None:
    """End the link with this id, whichever process holds it (Linux 5.9).

    Raises:
        UsageError: there is none.
        NotPermitted: CAP_SYS_ADMIN is missing.
        NotSupported: its kind ends only when its holders close it (tracing).
    """
    with ids.open_id(ids.LINK, number) as handle:
        record = attr.LINK_DETACH.pack(link_fd=handle.fd)
        syscall.bpf(syscall.Cmd.LINK_DETACH, record, f"detach link {number}")


def _direct(target: int, hook: AttachKind, place: str, program_id: int) -> list[int]:
    found = query(target, hook)
    if found is None:
        what = f"asking which programs are at {place}"
        raise NotSupported(errno.EINVAL, what, "4.15; of maps of sockets 5.18")
    numbers = [each.id for each in found.programs]
    wanted = [each for each in numbers if program_id in (0, each)]
    return [each for each in wanted if _detach(target, hook, each, place)]


def _detach(target: int, hook: AttachKind, number: int, place: str) -> bool:
    with ids.open_id(ids.PROGRAM, number) as program:
        result = detach_direct(target, hook, program.fd)
    if result == -errno.ENOENT and _is_there(target, hook, number):
        raise AttachError(
            f"a link holds program {number} at {place}: `beewire links` shows which, and "
            "detach.link(ID) ends it"
        )
    if result < 0 and result != -errno.ENOENT:
        about = f"take program {number} off {place}"
        raise explain.refusal(-result, "PROG_DETACH", about, ("CAP_NET_ADMIN",))
    return result >= 0


def _is_there(target: int, hook: AttachKind, number: int) -> bool:
    found = query(target, hook)
    return found is not None and number in [each.id for each in found.programs]
