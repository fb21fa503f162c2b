"""kprobes and kretprobes: the entry, an instruction, or the return of kernel functions."""

import errno
import os

from beewire.bpf.kernel import functions, kallsyms
from beewire.bpf.kernel.kconfig import SYSCALL_PREFIXES
from beewire.bpf.kernel.links import event
from beewire.bpf.kernel.links.probe import Place, attach_probes
from beewire.bpf.kernel.program import Program
from beewire.errors import AttachError, BeewireError, KernelError, NotSupported

# Of system calls whose functions have no wrapper.
_BARE = "sys_"


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
    if offset:
        _check_inside(function, offset)
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


def _check_inside(function: str, offset: int) -> None:
    # Newer kernels take any offset that is an instruction's, in whatever function.
    size = functions.size(function)
    if size is not None and not 0 <= offset < size:
        raise AttachError(
            f"offset {offset:#x} is outside of kernel function {function!r}, which has "
            f"{size:#x} bytes; a probe is at the start of an instruction in it"
        )


def attach_ksyscall(
    program: Program,
    name: str,
    *,
    returns: bool = False,
    cookie: int = 0,
    way: str = "",
    wrapped: bool = False,
) -> event.EventLink:
    """Run `program` where system call `name` ("openat") is entered, or where it returns.

    `wrapped` programs find the caller's registers at the address that is in the first
    register. `cookie` and `way` are as those of `attach_kprobe`.

    Raises:
        AttachError: this kernel has no such system call.
        NotPermitted: CAP_PERFMON or CAP_BPF is missing.
        NotSupported: the kernel is built without kprobes, or its system calls take the
            arguments of a `wrapped` program in registers (RISC-V before Linux 6.6).
    """
    function = syscall_function(name)
    if wrapped and function.startswith(_BARE):
        raise NotSupported(
            errno.EOPNOTSUPP,
            f"system calls whose registers are in memory (take the arguments of this "
            f'one with @kprobe("{function}"))',
            "6.6",
        )
    return attach_kprobe(program, function, returns=returns, cookie=cookie, way=way)


def syscall_function(name: str) -> str:
    """The kernel function that system call `name` ("nanosleep") enters.

    Raises:
        AttachError: this kernel has no such system call.
    """
    ours = SYSCALL_PREFIXES.get(os.uname().machine, _BARE)
    for prefix in (ours, _BARE):
        if kallsyms.has_symbol(prefix + name):
            return prefix + name
    from beewire.bpf.kernel.hooks import near  # noqa: PLC0415 - errors only

    similar = near(name, _calls(ours) or _calls(_BARE))
    hint = f"; did you mean {similar}?" if similar else ""
    raise AttachError(f"this kernel has no system call {name!r}{hint}")


def _calls(prefix: str) -> list[str]:
    try:
        known = {each for each, _ in functions.symbols()}
    except BeewireError:
        return []
    return sorted(
        each.removeprefix(prefix) for each in known if each.startswith(prefix)
    )
