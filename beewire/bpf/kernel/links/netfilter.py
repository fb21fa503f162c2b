"""Programs at the hooks of netfilter."""

import errno

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.links.base import Link, LinkKind, attach_error
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError, KernelError, NotPermitted, NotSupported

_FAMILIES = {4: 2, 6: 10}  # NFPROTO_IPV4, NFPROTO_IPV6
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_DEFRAGMENT = 1  # BPF_F_NETFILTER_IP_DEFRAG
_DEFRAG_PRIORITY = -400  # NF_IP_PRI_CONNTRACK_DEFRAG
_LIMIT = 1 << 31


def attach_netfilter(
    program: Program,
    hook: str,
    *,
    version: int = 4,
    priority: int = 0,
    defragment: bool = False,
) -> Link:
    """Run `program` for packets of IPv4 or IPv6 (`version` 4 or 6) in this namespace.

    `hook` is prerouting, input, forward, output or postrouting. Lower priorities run
    first; each priority is one program's, and the least and greatest are the kernel's.
    With `defragment` the program sees whole packets (Linux 6.6): at a priority above
    -400, where the kernel puts fragments together.

    Raises:
        AttachError: another program has the priority, or the hook cannot be used.
        NotPermitted: CAP_NET_ADMIN is missing.
        NotSupported: the kernel has no such links (before Linux 6.4).
    """
    place = f"netfilter's {hook} of IPv{version}"
    about = f"attach {program.name!r} to {place}"
    _check(about, hook, version, priority, defragment=defragment)
    record = attr.NETFILTER_LINK.pack(
        prog_fd=program.fd,
        attach_type=AttachKind.NETFILTER,
        pf=_FAMILIES[version],
        hooknum=_HOOKS.index(hook),
        priority=priority & 0xFFFF_FFFF,
        netfilter_flags=_DEFRAGMENT if defragment else 0,
    )
    try:
        fd = syscall.bpf(syscall.Cmd.LINK_CREATE, record, about, ("CAP_NET_ADMIN",))
    except (NotPermitted, NotSupported):
        raise
    except KernelError as error:
        raise _refusal(error, program, place, priority) from error
    return Link(fd, LinkKind.NETFILTER, f"{program.name!r} on {place}")


def _check(
    about: str, hook: str, version: int, priority: int, *, defragment: bool
) -> None:
    """Say what the kernel would call EINVAL or ERANGE."""
    if hook not in _HOOKS:
        raise AttachError(f"cannot {about}: the hooks are {', '.join(_HOOKS)}")
    if version not in _FAMILIES:
        raise AttachError(f"cannot {about}: `version` is that of IP, 4 or 6")
    if not -_LIMIT < priority < _LIMIT - 1:
        raise AttachError(
            f"cannot {about}: priority {priority} is not between {1 - _LIMIT} and "
            f"{_LIMIT - 2}; the least and the greatest are the kernel's"
        )
    if defragment and priority <= _DEFRAG_PRIORITY:
        raise AttachError(
            f"cannot {about}: packets are put together at priority {_DEFRAG_PRIORITY}, "
            f"so a program that wants whole ones comes after that, not at {priority}"
        )


def _refusal(
    error: KernelError, program: Program, place: str, priority: int
) -> Exception:
    if error.errno in (errno.EBUSY, errno.EEXIST):
        return AttachError(
            f"cannot attach {program.name!r} to {place}: another program has priority "
            f"{priority} there (`beewire links` shows which): take the next one"
        )
    if error.errno == errno.EINVAL and program.spec.kind is ProgramKind.NETFILTER:
        return NotSupported(errno.EINVAL, "links of netfilter", "6.4; defragment: 6.6")
    return attach_error(error, program, place)
