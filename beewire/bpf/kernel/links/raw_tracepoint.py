"""Raw tracepoints, and tracing programs that name their hook by BTF."""

import errno

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.links.base import Link
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError, KernelError, NotSupported

_LSMS = "/sys/kernel/security/lsm"


def attach_raw_tracepoint(program: Program, name: str, *, cookie: int = 0) -> Link:
    """Run `program` at the tracepoint `name` ("sched_switch") with its raw arguments.

    `cookie` is what `get_attach_cookie` gives (Linux 6.10).

    Raises:
        AttachError: this kernel has no such tracepoint.
        NotPermitted: CAP_PERFMON or CAP_BPF is missing.
        NotSupported: a cookie, on a kernel without cookies of raw tracepoints.
    """
    fd = _open(program, name, f"raw tracepoint {name!r}", cookie)
    description = f"{program.name!r} on raw tracepoint {name!r}"
    return Link(fd, "raw_tracepoint", description, cookie=cookie)


def attach_tracing(program: Program, *, cookie: int = 0) -> Link:
    """Attach a tp_btf, fentry, fexit, fmod_ret or LSM program to the hook it is for.

    `cookie` is what `get_attach_cookie` gives (Linux 6.0; tp_btf: 6.10).

    Raises:
        AttachError: the hook cannot be traced in this kernel.
        NotPermitted: CAP_PERFMON or CAP_BPF is missing.
        NotSupported: a cookie, on a kernel without cookies of tracing programs.
    """
    spec = program.spec
    place = f"{spec.attach_to!r} ({spec.section})"
    if spec.attach_kind is AttachKind.LSM_MAC:
        _check_awake(program, place)
    is_tracepoint = spec.attach_kind is AttachKind.TRACE_RAW_TP
    if cookie and not is_tracepoint:
        fd = _linked(program, place, cookie)
    else:
        fd = _open(program, "", place, cookie)
    kind = "freplace" if spec.kind is ProgramKind.EXT else "tracing"
    return Link(fd, kind, f"{program.name!r} on {place}", cookie=cookie)


def _check_awake(program: Program, place: str) -> None:
    """Refuse what the kernel would take, and never run."""
    from beewire.bpf.kernel import privilege  # noqa: PLC0415 - security hooks only

    text = privilege.read_text(_LSMS).strip()  # "" where securityfs is not mounted
    active = text.split(",")
    if text and "bpf" not in active:
        raise AttachError(
            f"cannot attach {program.name!r} to {place}: the kernel would never run it, "
            f"as bpf is none of its security modules ({text}); add it to "
            "lsm=... on the kernel's command line"
        )


def attach_freplace(program: Program, target: Program, function: str) -> Link:
    """Let `program` (freplace) run in the place of `function` of a loaded `target`.

    It may be another program than the one that it was loaded for, where the function
    has the same parameters (Linux 5.10).

    Raises:
        AttachError: the target has no such function, or one with other parameters.
        NotPermitted: CAP_BPF is missing, or the machine forbids it.
    """
    from beewire.bpf.kernel.replaced import function_id  # noqa: PLC0415 - rare

    about = f"{function!r} of program {target.name!r}"
    record = attr.TRACING_LINK.pack(
        prog_fd=program.fd,
        target_fd=target.fd,
        target_btf_id=function_id(target, function),
    )
    cmd, text = syscall.Cmd.LINK_CREATE, f"attach {program.name!r} to {about}"
    try:
        fd = syscall.bpf(cmd, record, text)
    except KernelError as error:
        raise _refusal(error, program, about) from error
    return Link(fd, "freplace", f"{program.name!r} on {about}")


def _open(program: Program, name: str, place: str, cookie: int = 0) -> int:
    text = bytearray(name.encode() + b"\0")
    record = attr.RAW_TRACEPOINT.pack(
        name=syscall.address(text) if name else 0, prog_fd=program.fd, cookie=cookie
    )
    about = f"attach {program.name!r} to {place}"
    cmd = syscall.Cmd.RAW_TRACEPOINT_OPEN
    try:
        return syscall.bpf(cmd, record, about, ("CAP_PERFMON",))
    except KernelError as error:
        if cookie and error.errno in (errno.EINVAL, errno.E2BIG):
            what = "cookies of raw and BTF tracepoints"
            raise NotSupported(error.errno, what, "6.10") from error
        raise _refusal(error, program, place) from error


def _linked(program: Program, place: str, cookie: int) -> int:
    kind = program.spec.attach_kind
    record = attr.TRACING_LINK.pack(
        prog_fd=program.fd, attach_type=kind or 0, cookie=cookie
    )
    about = f"attach {program.name!r} to {place}"
    try:
        return syscall.bpf(syscall.Cmd.LINK_CREATE, record, about, ("CAP_PERFMON",))
    except KernelError as error:
        if error.errno in (errno.EINVAL, errno.E2BIG):
            raise NotSupported(
                error.errno, "cookies of tracing programs", "6.0"
            ) from error
        raise _refusal(error, program, place) from error


def _refusal(error: KernelError, program: Program, place: str) -> Exception:
    about = f"cannot attach {program.name!r} to {place}"
    section = program.spec.section
    reasons = {
        errno.ENOENT: _near_tracepoint(place),
        errno.EINVAL: f"a program of section {section!r} does not belong there, or "
        "reads more arguments than it has",
        errno.EBUSY: "something else holds that place: a function is traced once by "
        "fentry and fexit beside ftrace's other users, and replaced once",
        errno.E2BIG: "no more programs fit there (38 to a function)",
    }
    if error.errno not in reasons or isinstance(error, NotSupported):
        return error
    return AttachError(f"{about}: {reasons[error.errno]}")


def _near_tracepoint(place: str) -> str:
    from beewire.bpf.kernel.functions import near_tracepoint  # noqa: PLC0415 - errors only

    name = place.partition("'")[2].partition("'")[0]
    similar = near_tracepoint(name)
    hint = f"; did you mean {similar}?" if similar else ""
    return f"this kernel has no such tracepoint{hint}"
