"""uprobes and uretprobes: functions, and instructions, of programs and libraries."""

import errno

from beewire.bpf.kernel.binaries import Binary
from beewire.bpf.kernel.links import event
from beewire.bpf.kernel.links.probe import Place, attach_probes
from beewire.bpf.kernel.program import Program
from beewire.errors import AttachError, KernelError
from beewire.hints import Sequence

_ENOTSUPP = 524  # the kernel's own, which errno.h does not name


def attach_uprobe(  # noqa: PLR0913 - where, and in which way
    program: Program,
    path: str,
    function: str,
    *,
    returns: bool = False,
    pid: int = -1,
    counter: int = 0,
    cookie: int = 0,
    way: str = "",
) -> event.EventLink:
    """Run `program` when a function of the file at `path` is entered, or returns.

    `path` may also be a program in PATH or a library ("libc"). `function` is a symbol,
    "memcpy@GLIBC_2.2.5", "main+0x10", or an offset into the file, "0x1234". `pid` is one
    process, whose own files `path` then means; -1 all, those that start later too.
    `counter` is the file offset of a 16-bit counter that the kernel raises meanwhile
    (Linux 4.20). `way` takes another way than the newest: "ioctl", "tracefs". `cookie`
    is what `get_attach_cookie` gives (Linux 5.15).

    Raises:
        AttachError: there is no such file or function; the message tells names that are
            near.
        NotPermitted: CAP_PERFMON or CAP_BPF is missing.
        NotSupported: the kernel is built without uprobes, or has no cookies.
    """
    with Binary.find(path, pid) as binary:
        offset = binary.offset(function)
    if returns and "+" in function:
        raise AttachError(
            f"a uretprobe is at the return of {function!r}: it takes no offset"
        )
    about = f"{'the return of ' if returns else ''}{function!r} of {binary.path}"
    places = [Place(binary.path, offset, counter, returns)]
    return attach_places(program, places, about, pid=pid, cookies=[cookie], way=way)


def attach_places(
    program: Program,
    places: Sequence[Place],
    about: str,
    *,
    pid: int,
    cookies: Sequence[int],
    way: str,
) -> event.EventLink:
    """Run `program` at places of files that are known already; `about` names them."""
    return attach_probes(
        program,
        "uprobe",
        places,
        about,
        lambda number, _: refusal(number, program, about, pid),
        pid=pid,
        cookies=cookies,
        way=way,
    )


def refusal(
    number: int, program: Program, about: str, pid: int
) -> KernelError | AttachError:
    """The error for an errno of a probe in a file."""
    what = f"attach {program.name!r} to {about}"
    reasons = {
        errno.ESRCH: f"there is no process {pid}",
        errno.EINVAL: "no probe can be there: it is not the start of an instruction, not "
        "in a mapped part of the file, or the file system has none",
        errno.EILSEQ: "no probe can be there: it is not the start of an instruction",
        errno.EOPNOTSUPP: "no probe can be in such an instruction",
        _ENOTSUPP: "no probe can be there: it is not the start of an instruction that "
        "can be stepped over",
        errno.EIO: "the file system of that file keeps no pages: copy the file elsewhere",
    }
    if number in reasons:
        return AttachError(f"cannot {what}: {reasons[number]}")
    return event.usual(number, program, what)
