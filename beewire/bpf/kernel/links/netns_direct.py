"""Flow dissectors by BPF_PROG_ATTACH: the way of before Linux 5.7.

The namespace of the thread that attaches holds the program: it stays until it is taken
off, or the namespace goes.
"""

import os

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.links.base import Link, attach_error
from beewire.bpf.kernel.links.cgroup_direct import end
from beewire.bpf.kernel.links.direct import DirectLink
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind
from beewire.errors import AttachError, KernelError, NotPermitted
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.kernel.links.info import NetnsInfo

_OWN = "/proc/thread-self/ns/net"


def attach_dissector(program: Program, fd: int, place: str) -> Link:
    """Let `program` dissect the packets of this thread's namespace, which `fd` is.

    The link is to be closed by a thread of the same namespace.

    Raises:
        AttachError: it is another namespace, or has a dissector.
        NotPermitted: CAP_NET_ADMIN is missing.
    """
    inode = os.fstat(fd).st_ino
    if os.stat(_OWN).st_ino != inode:  # noqa: PTH116 - no pathlib here
        raise AttachError(
            f"cannot attach {program.name!r} to {place}: this kernel attaches flow "
            "dissectors to the namespace of the thread only: enter it (setns) first"
        )
    hook = AttachKind.FLOW_DISSECTOR
    record = attr.PROG_ATTACH.pack(attach_bpf_fd=program.fd, attach_type=hook)
    about = f"attach {program.name!r} to {place}"

    def put() -> None:
        try:
            syscall.bpf(syscall.Cmd.PROG_ATTACH, record[:16], about, ("CAP_NET_ADMIN",))
        except NotPermitted:
            raise
        except KernelError as error:
            raise attach_error(error, program, place) from error

    def take_off(own: int) -> None:
        if os.stat(_OWN).st_ino == inode:  # noqa: PTH116 - as above
            end(0, hook, own, f"take {program.name!r} off {place}")

    def replace(other: Program, _own: int) -> None:
        record = attr.PROG_ATTACH.pack(attach_bpf_fd=other.fd, attach_type=hook)
        change = f"put {other.name!r} in the place of {program.name!r} on {place}"
        syscall.bpf(syscall.Cmd.PROG_ATTACH, record[:16], change, ("CAP_NET_ADMIN",))

    def tell(number: int) -> "NetnsInfo":
        from beewire.bpf.kernel import places  # noqa: PLC0415 - rare
        from beewire.bpf.kernel.links.info import NetnsInfo  # noqa: PLC0415
        from beewire.bpf.kernel.links.kinds import LinkKind  # noqa: PLC0415

        name = places.namespace_name(inode)
        return NetnsInfo(LinkKind.UNSPEC, 0, number, hook, inode, name)

    return DirectLink(
        program,
        "netns.attach",
        f"{program.name!r} on {place}",
        put=put,
        take_off=take_off,
        replace=replace,
        tell=tell,
    )
