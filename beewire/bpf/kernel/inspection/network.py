"""Programs on network interfaces, asked by netlink: XDP, and filters of tc.

Both are told for the namespace of the thread that asks; a thread of its own goes through
the others.
"""

import socket
import struct
import threading
from collections.abc import Iterator
from typing import NamedTuple

from beewire.bpf.kernel import places, syscall
from beewire.bpf.kernel.inspection.attachments import Found, query
from beewire.bpf.kernel.inspection.states import Attachment
from beewire.bpf.object import AttachKind

_ROUTE = 0  # NETLINK_ROUTE
_GETLINK, _NEWLINK, _GETQDISC, _NEWQDISC, _GETTFILTER, _NEWTFILTER = (
    18,
    16,
    38,
    36,
    46,
    44,
)
_ERROR, _DONE = 2, 3
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_HEADER = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_TCMSG = struct.Struct("=BxxxiIII")
_IFLA_IFNAME, _IFLA_XDP = 3, 43
_XDP_ATTACHED = 2
# IFLA_XDP_PROG_ID, and one id for each mode where there are several.
_XDP_IDS = {4: "", 5: "native", 6: "generic", 7: "offloaded"}
_XDP_MODES = {1: "native", 2: "generic", 3: "offloaded"}
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_NAME, _TCA_BPF_ID = 7, 11
_CLSACT = {0xFFFF_FFF2: "ingress", 0xFFFF_FFF3: "egress"}
_INGRESS = 0xFFFF_0000
_INTERFACE_KINDS = (
    *(AttachKind.TCX_INGRESS, AttachKind.TCX_EGRESS),
    *(AttachKind.NETKIT_PRIMARY, AttachKind.NETKIT_PEER),
)
_READ = 1 << 16
_TIMEOUT = 5.0


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
        where = (
            self.interface
            if self.namespace == OWN
            else f"{self.interface} in {self.namespace}"
        )
        return self.program_id, Attachment(self.hook, where, self.link_id)


OWN = "this namespace"


def on_interfaces() -> list[OnInterface]:
    """The programs at the interfaces of all namespaces that can be found."""
    found: list[OnInterface] = []

    def walk() -> None:
        for inode, path in places.namespaces():
            if syscall.enter_network_namespace(path) >= 0:
                found.extend(_here(places.namespace_name(inode)))

    own = places.namespace_name(places.own_namespace())
    # A thread: what it enters is not entered by the others.
    walker = threading.Thread(target=walk, name="bw-namespaces", daemon=True)
    walker.start()
    walker.join()
    return found or list(_here(own))


def _here(namespace: str) -> Iterator[OnInterface]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _ROUTE) as netlink:
        netlink.settimeout(_TIMEOUT)
        for ifindex, attributes in _links(netlink):
            name = attributes.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode()
            for number, mode in _xdp(attributes.get(_IFLA_XDP, b"")):
                yield OnInterface(
                    number, f"xdp {mode}".strip(), ifindex, name, namespace
                )
            for kind in _INTERFACE_KINDS:
                for number, link in zip(*query(ifindex, kind), strict=True):
                    hook = kind.name.lower()
                    yield OnInterface(number, hook, ifindex, name, namespace, link)
            for number, hook in _filters(netlink, ifindex):
                yield OnInterface(number, hook, ifindex, name, namespace)


def _links(netlink: socket.socket) -> list[tuple[int, dict[int, bytes]]]:
    request = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    return [
        (_IFINFO.unpack_from(body)[2], _attributes(body[_IFINFO.size :]))
        for body in _dump(netlink, _GETLINK, _NEWLINK, request)
    ]


def _xdp(nested: bytes) -> Iterator[tuple[int, str]]:
    told = _attributes(nested)
    attached = told.get(_XDP_ATTACHED, b"\0")[0]
    single = _XDP_MODES.get(attached, "")
    for kind, mode in _XDP_IDS.items():
        # The plain id repeats one of the others, where the kernel has those.
        if kind in told and (mode or not told.keys() & {5, 6, 7}):
            yield struct.unpack("=I", told[kind])[0], mode or single


def _filters(netlink: socket.socket, ifindex: int) -> Iterator[tuple[int, str]]:
    parents = dict(_CLSACT)
    request = _TCMSG.pack(socket.AF_UNSPEC, ifindex, 0, 0, 0)
    for body in _dump(netlink, _GETQDISC, _NEWQDISC, request):
        _, index, handle, _, _ = _TCMSG.unpack_from(body)
        if index == ifindex and handle and handle != _INGRESS:
            parents[handle] = f"qdisc {handle >> 16:x}:"
    for parent, direction in parents.items():
        request = _TCMSG.pack(socket.AF_UNSPEC, ifindex, 0, parent, 0)
        for body in _dump(netlink, _GETTFILTER, _NEWTFILTER, request):
            told = _attributes(body[_TCMSG.size :])
            inner = _attributes(told.get(_TCA_OPTIONS, b""))
            if told.get(_TCA_KIND) == b"bpf\0" and _TCA_BPF_ID in inner:
                yield struct.unpack("=I", inner[_TCA_BPF_ID])[0], f"clsact {direction}"


def _dump(
    netlink: socket.socket, ask: int, answer: int, body: bytes
) -> Iterator[bytes]:
    """The bodies of all messages that a dump gives; none where it is refused."""
    netlink.send(
        _HEADER.pack(_HEADER.size + len(body), ask, _REQUEST_DUMP, 1, 0) + body
    )
    while True:
        data = netlink.recv(_READ)
        at = 0
        while at + _HEADER.size <= len(data):
            size, kind, _, _, _ = _HEADER.unpack_from(data, at)
            if kind in (_DONE, _ERROR) or size < _HEADER.size:
                return
            if kind == answer:
                yield data[at + _HEADER.size : at + size]
            at += (size + 3) & ~3


def _attributes(data: bytes) -> dict[int, bytes]:
    """`struct nlattr`s by type; the flag of nested ones is taken off."""
    found, at = {}, 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[at + 4 : at + size]
        at += (size + 3) & ~3
    return found
