"""Raw tracepoints, and tracing programs that name their hook by BTF."""

import errno

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.links.base import Link, LinkKind
from beewire.bpf.kernel.program import Program
from beewire.errors import AttachError, KernelError


def attach_raw_tracepoint(program: Program, name: str) -> Link:
    """Run `program` at the tracepoint `name` ("sched_switch") with its raw arguments.

    Raises:
        AttachError: this kernel has no such tracepoint.
        NotPermitted: CAP_PERFMON or CAP_BPF is missing.
    """
    fd = _open(program, name, f"raw tracepoint {name!r}")
    description = f"{program.name!r} on raw tracepoint {name!r}"
    return Link(fd, LinkKind.RAW_TRACEPOINT, description)


def attach_tracing(program: Program) -> Link:
    """Attach a tp_btf, fentry, fexit or LSM program to the hook it was loaded for.

    Raises:
        AttachError: the hook cannot be traced in this kernel.
        NotPermitted: CAP_PERFMON or CAP_BPF is missing.
    """
    place = f"{program.spec.attach_to!r} ({program.spec.section})"
    fd = _open(program, "", place)
    return Link(fd, LinkKind.TRACING, f"{program.name!r} on {place}")


def _open(program: Program, name: str, place: str) -> int:
    text = bytearray(name.encode() + b"\0")
    record = attr.RAW_TRACEPOINT.pack(
        name=syscall.address(text) if name else 0, prog_fd=program.fd
    )
    about = f"attach {program.name!r} to {place}"
    cmd = syscall.Cmd.RAW_TRACEPOINT_OPEN
    try:
        return syscall.bpf(cmd, record, about, ("CAP_PERFMON",))
    except KernelError as error:
        if error.errno == errno.ENOENT:
            raise AttachError(
                f"cannot attach {program.name!r} to {place}: this kernel has no such "
                "tracepoint"
            ) from error
        if error.errno == errno.EINVAL:
            raise AttachError(
                f"cannot attach {program.name!r} to {place}: a program of section "
                f"{program.spec.section!r} does not belong there, or reads more "
                "arguments than the tracepoint has"
            ) from error
        raise
