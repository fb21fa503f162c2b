"""Programs at the hooks of netfilter."""

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.links.base import Link, LinkKind, attach_error
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind
from beewire.errors import KernelError, NotPermitted, NotSupported

_FAMILIES = {4: 2, 6: 10}  # NFPROTO_IPV4, NFPROTO_IPV6
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")


def attach_netfilter(
    program: Program, hook: str, *, version: int = 4, priority: int = 0
) -> Link:
    """Run `program` for packets of IPv4 or IPv6 (`version` 4 or 6) in this namespace.

    `hook` is prerouting, input, forward, output or postrouting. Lower priorities run
    first; each priority is one program's, and the least and greatest are the kernel's.

    Raises:
        AttachError: another program has the priority, or the hook cannot be used.
        NotPermitted: CAP_NET_ADMIN is missing.
        NotSupported: the kernel has no such links (before Linux 6.4).
    """
    place = f"netfilter's {hook} of IPv{version}"
    record = attr.NETFILTER_LINK.pack(
        prog_fd=program.fd,
        attach_type=AttachKind.NETFILTER,
        pf=_FAMILIES[version],
        hooknum=_HOOKS.index(hook),
        priority=priority & 0xFFFF_FFFF,
    )
    about = f"attach {program.name!r} to {place}"
    try:
        fd = syscall.bpf(syscall.Cmd.LINK_CREATE, record, about, ("CAP_NET_ADMIN",))
    except (NotPermitted, NotSupported):
        raise
    except KernelError as error:
        raise attach_error(error, program, place) from error
    return Link(fd, LinkKind.NETFILTER, f"{program.name!r} on {place}")
