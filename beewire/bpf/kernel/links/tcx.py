"""Programs on an interface that stand beside each other: tcx and netkit."""

from beewire.bpf.kernel.links.base import Link, LinkKind, create_link
from beewire.bpf.kernel.links.xdp import interface_index
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind
from beewire.errors import AttachError

_KINDS = {
    AttachKind.TCX_INGRESS: LinkKind.TCX,
    AttachKind.TCX_EGRESS: LinkKind.TCX,
    AttachKind.NETKIT_PRIMARY: LinkKind.NETKIT,
    AttachKind.NETKIT_PEER: LinkKind.NETKIT,
}


def attach_tcx(program: Program, interface: str | int) -> Link:
    """Run `program` for the packets of an interface, after those that are there.

    `interface` is a name or index in the network namespace of this thread. Returning
    TCX_NEXT (-1) lets the next program decide.

    Raises:
        AttachError: no such interface, or it is no netkit device.
        NotPermitted: CAP_NET_ADMIN or CAP_BPF is missing.
        NotSupported: the kernel has no such links (before Linux 6.6, netkit 6.7).
    """
    hook = program.spec.attach_kind
    if hook is None or hook not in _KINDS:
        section = program.spec.section
        message = f"program {program.name!r} ({section}) is not for an interface's tcx"
        raise AttachError(message)
    place = f"interface {interface}"
    fd = create_link(program, interface_index(interface), hook, place)
    return Link(fd, _KINDS[hook], f"{program.name!r} on {place}")
