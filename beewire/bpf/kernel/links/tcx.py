"""Programs on an interface that stand beside each other: tcx and netkit; clsact before."""

import errno

from beewire.bpf.kernel.links.base import Link, LinkKind
from beewire.bpf.kernel.links.interface import interface_index
from beewire.bpf.kernel.links.order import Neighbour, create_ordered, order
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import (
    AttachError,
    BeewireError,
    KernelError,
    NotPermitted,
    NotSupported,
)

_DIRECTIONS = {
    "ingress": AttachKind.TCX_INGRESS,
    "egress": AttachKind.TCX_EGRESS,
    "primary": AttachKind.NETKIT_PRIMARY,
    "peer": AttachKind.NETKIT_PEER,
}
_NETKIT = (AttachKind.NETKIT_PRIMARY, AttachKind.NETKIT_PEER)


def attach_tcx(  # noqa: PLR0913 - where it is, and where among the others
    program: Program,
    interface: str | int,
    direction: str = "",
    *,
    before: Neighbour | None = None,
    after: Neighbour | None = None,
    revision: int = 0,
    as_link: bool = True,
    priority: int = 0,
    handle: int = 0,
) -> Link:
    """Run `program` for the packets of an interface, after those that are there.

    `interface` is a name or index in the network namespace of this thread. `direction`
    is ingress or egress, and primary or peer of netkit devices; programs of sections such
    as "tcx/ingress" know theirs. Returning TCX_NEXT (-1) lets the next program decide.

    `before` and `after` are a Link or Program at the hook, `LinkId(n)`, `ProgramId(n)`,
    or "all". With `revision`, as `programs_at` tells it, attaching fails where the list
    has changed since.

    Kernels without tcx (before Linux 6.6), and `as_link=False`, take a filter of the
    clsact qdisc: `link.kind` is "clsact" then, its order is by `priority` (1 first; 0 is
    the kernel's choice) and `handle`, and it stays when the process dies.

    Raises:
        AttachError: no such interface, or it is no netkit device; no such neighbour.
        NotPermitted: CAP_NET_ADMIN or CAP_BPF is missing.
        NotSupported: the kernel has no netkit (before Linux 6.7), or no order.
    """
    hook = _hook(program, direction)
    index = interface_index(interface)
    place = f"{hook.name.lower().replace('_', ' ')} of interface {interface}"
    wanted = order(before, after, revision)
    ordered = wanted.is_given
    if as_link and not (priority or handle):
        try:
            fd = create_ordered(program, index, hook, place, wanted)
        except NotPermitted:
            raise
        except (AttachError, KernelError) as error:
            if hook in _NETKIT and _is_peer(error):
                raise AttachError(
                    f"cannot attach {program.name!r} to {place}: it is the peer of its "
                    "pair, and programs of both are attached at the primary end"
                ) from error
            if hook in _NETKIT or _knows_tcx(hook):
                raise
        else:
            kind = LinkKind.NETKIT if hook in _NETKIT else LinkKind.TCX
            return Link(fd, kind, f"{program.name!r} on {place}")
    if hook in _NETKIT:
        raise AttachError("netkit devices take links only")
    if ordered:
        what = "an order among filters of clsact by their neighbours (use priority=)"
        raise NotSupported(95, what, "6.6, by tcx")
    from beewire.bpf.kernel.links.clsact import attach_clsact  # noqa: PLC0415 - older kernels

    return attach_clsact(program, index, hook, priority=priority, handle=handle)


def _hook(program: Program, direction: str) -> AttachKind:
    own, section = program.spec.attach_kind, program.spec.section
    if program.spec.kind is not ProgramKind.SCHED_CLS:
        message = f"program {program.name!r} ({section}) is not for an interface's tcx"
        raise AttachError(message)
    if direction and direction not in _DIRECTIONS:
        known = ", ".join(_DIRECTIONS)
        raise AttachError(f"there is no direction {direction!r}: it is one of {known}")
    asked = _DIRECTIONS.get(direction)
    if own in _DIRECTIONS.values() and asked not in (None, own):
        raise AttachError(
            f"program {program.name!r} is of section {section!r}, which is not for "
            f"{direction}: leave the direction out, or make it a program of section 'tc'"
        )
    found = asked or own
    if found is None:
        raise AttachError(
            f"program {program.name!r} ({section}) does not say for which packets it is: "
            'give "ingress" or "egress" as well'
        )
    return found


def _is_peer(error: BeewireError) -> bool:
    # A missing capability would be EPERM.
    cause = error.__cause__
    return isinstance(cause, KernelError) and cause.errno == errno.EACCES


def _knows_tcx(hook: AttachKind) -> bool:
    from beewire.bpf.kernel import features  # noqa: PLC0415 - errors only

    return bool(features.attach_kind(hook).available)
