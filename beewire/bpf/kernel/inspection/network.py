"""Programs on network interfaces, asked by netlink: XDP, tcx, netkit, filters of tc.

They are told for the namespace of the thread that asks; a thread of its own goes through
all of them.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from beewire.bpf.kernel import netlink, places, syscall
from beewire.bpf.kernel.inspection.attachments import Found
from beewire.bpf.kernel.inspection.states import Attachment
from beewire.bpf.kernel.links.query import ids_at
from beewire.bpf.kernel.links.xdp_netlink import decode_programs
from beewire.bpf.kernel.netlink import IFINFO, TCMSG, Route
from beewire.bpf.object import AttachKind
from beewire.errors import BeewireError, KernelError

_NAME = 3  # IFLA_IFNAME
_KIND, _OPTIONS = 1, 2  # TCA_KIND, TCA_OPTIONS
_PROGRAM = 11  # TCA_BPF_ID
_CLSACT = {0xFFFF_FFF2: "clsact ingress", 0xFFFF_FFF3: "clsact egress"}
_INGRESS = 0xFFFF_0000
_INTERFACE_KINDS = (
    *(AttachKind.TCX_INGRESS, AttachKind.TCX_EGRESS),
    *(AttachKind.NETKIT_PRIMARY, AttachKind.NETKIT_PEER),
)
OWN = "this namespace"


class OnInterface(NamedTuple):
    """A program at an interface of some namespace; `link_id` 0 where no link is told."""

    program_id: int
    hook: str
    ifindex: int
    interface: str
    namespace: str
    link_id: int = 0

    def attachment(self) -> Found:
        """The same as others are told."""
        own = self.namespace == OWN
        where = self.interface if own else f"{self.interface} in {self.namespace}"
        return self.program_id, Attachment(self.hook, where, self.link_id)


def on_interfaces() -> list[OnInterface]:
    """The programs at the interfaces of all namespaces that can be found."""
    found: list[OnInterface] = []
    own = places.own_namespace()
    targets = [
        (inode, path, places.namespace_name(inode))
        for inode, path in places.namespaces()
    ]

    def walk() -> None:
        for inode, path, name in targets:
            # Without the privilege to enter any, it is in its own.
            if syscall.enter_network_namespace(path) < 0 and inode != own:
                continue
            with suppress(BeewireError, OSError):  # it may end meanwhile
                found.extend(_here(name))

    # A thread: what it enters is not entered by the others.
    walker = threading.Thread(target=walk, name="bw-namespaces", daemon=True)
    walker.start()
    walker.join()
    return found


def _here(namespace: str) -> Iterator[OnInterface]:
    with Route() as route:
        parents = _parents(route)
        for ifindex, told in _interfaces(route):
            name = os.fsdecode(told.get(_NAME, b"").rstrip(b"\0"))
            for each in _programs(route, ifindex, told, parents):
                number, hook, link = each
                yield OnInterface(number, hook, ifindex, name, namespace, link)


def _interfaces(route: Route) -> Iterator[tuple[int, dict[int, bytes]]]:
    for body in _dump(route, netlink.GETLINK, IFINFO.pack(0, 0, 0, 0, 0)):
        yield IFINFO.unpack_from(body)[2], netlink.attributes(body[IFINFO.size :])


def _programs(
    route: Route,
    ifindex: int,
    told: dict[int, bytes],
    parents: dict[int, dict[int, str]],
) -> Iterator[tuple[int, str, int]]:
    """Id, hook and link of each program at one interface."""
    for each in decode_programs(told):
        yield each.program_id, f"xdp {each.mode}".strip(), 0
    for kind in _INTERFACE_KINDS:
        for number, link in ids_at(ifindex, kind):
            yield number, kind.name.lower(), link
    for parent, hook in parents.get(ifindex, {}).items():
        for body in _dump(
            route, netlink.GETTFILTER, TCMSG.pack(0, ifindex, 0, parent, 0)
        ):
            found = netlink.attributes(body[TCMSG.size :])
            inner = netlink.attributes(found.get(_OPTIONS, b""))
            if found.get(_KIND) == b"bpf\0" and _PROGRAM in inner:
                yield netlink.integer(inner[_PROGRAM]), hook, 0


def _parents(route: Route) -> dict[int, dict[int, str]]:
    """Where filters may be, in words, by interface: only where there is a qdisc."""
    found: dict[int, dict[int, str]] = {}
    for body in _dump(route, netlink.GETQDISC, TCMSG.pack(0, 0, 0, 0, 0)):
        _, ifindex, handle, _, _ = TCMSG.unpack_from(body)
        own = found.setdefault(ifindex, {})
        if handle == _INGRESS:
            own.update(_CLSACT)
        elif handle:
            own[handle] = f"qdisc {handle >> 16:x}:"
    return found


def _dump(route: Route, kind: int, body: bytes) -> list[bytes]:
    """What a dump gives; nothing where it is refused: no tc in this kernel, say."""
    try:
        return route.dump(kind, body)
    except KernelError:
        return []
