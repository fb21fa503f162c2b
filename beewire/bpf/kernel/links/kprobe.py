"""kprobes and kretprobes: the entry, an instruction, or the return of kernel functions."""

import errno

from beewire.bpf.kernel import functions
from beewire.bpf.kernel.links import event
from beewire.bpf.kernel.links.probe import Place, attach_probes
from beewire.bpf.kernel.program import Program
from beewire.errors import AttachError, BeewireError, KernelError

# What the kernel calls its system calls, by machine; the last is that without wrappers.
_WRAPPERS = ("__x64_sys_", "__arm64_sys_", "__riscv_sys_", "__s390x_sys_", "sys_")


def attach_kprobe(
    program: Program,
    function: str,
    *,
    offset: int = 0,
    returns: bool = False,
    cookie: int = 0,
    way: str = "",
) -> event.EventLink:
    """Run `program` at the entry of a kernel function, or at its return.

    `function` is a name of /proc/kallsyms; `offset` (bytes) an instruction in it. `way`
    takes another way than the newest: "ioctl", "tracefs". `cookie` is what
    `get_attach_cookie` gives (Linux 5.15).

    Raises:
        AttachError: there is no such function, or no probe may be in it; the message
            tells names that are near.
        NotPermitted: CAP_PERFMON or CAP_BPF is missing.
        NotSupported: the kernel is built without kprobes, or has no cookies.
    """
    if offset and returns:
        raise AttachError(
            f"a kretprobe is at the return of {function!r}: it takes no offset"
        )
    place = f"{'the return of ' if returns else ''}kernel function {function!r}"
    place += f" + {offset:#x}" if offset else ""
    return attach_probes(
        program,
        "kprobe",
        [Place(function, offset, 0, returns)],
        place,
        lambda number, _: refusal(number, program, function, place),
        cookies=[cookie],
        way=way,
    )


def refusal(
    number: int, program: Program, function: str, place: str
) -> KernelError | AttachError:
    """The error for an errno of a probe in `function`."""
    about = f"attach {program.name!r} to {place}"
    if number == errno.EADDRNOTAVAIL:
        why = "several functions have that name: probe one that calls it"
        return AttachError(f"cannot {about}: {why}")
    if number in (errno.ENOENT, errno.EINVAL, errno.EILSEQ):
        return AttachError(f"cannot {about}: {functions.why_not(function)}")
    return event.usual(number, program, about)


def syscall_function(name: str) -> str:
    """The kernel function that system call `name` ("nanosleep") enters.

    Raises:
        AttachError: this kernel has no such system call.
    """
    try:
        known = {each for each, _ in functions.symbols()}
    except BeewireError:
        known = set()
    for prefix in _WRAPPERS:
        if prefix + name in known:
            return prefix + name
    from beewire.bpf.kernel.hooks import near  # noqa: PLC0415 - errors only

    calls = {
        each.removeprefix(prefix)
        for prefix in _WRAPPERS
        for each in known
        if each.startswith(prefix)
    }
    similar = near(name, sorted(calls))
    hint = f"; did you mean {similar}?" if similar else ""
    raise AttachError(f"this kernel has no system call {name!r}{hint}")
