"""Many functions by one link: kprobe.multi (Linux 5.18), uprobe.multi (Linux 6.6).

Also sessions, whose program runs at the entry and again at the return (Linux 6.10). Where
a kernel lacks those links, each function has a perf event instead; sessions have no
other way.
"""

import errno
from array import array

from beewire.bpf.kernel import attr, functions, syscall
from beewire.bpf.kernel.binaries import Binary
from beewire.bpf.kernel.links import event, kprobe, uprobe
from beewire.bpf.kernel.links.base import Link, fixed
from beewire.bpf.kernel.links.probe import Place, attach_probes, check_built_in
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind
from beewire.errors import AttachError, KernelError, NotSupported
from beewire.hints import Mapping, Sequence

_RETURN = 1  # BPF_F_KPROBE_MULTI_RETURN, BPF_F_UPROBE_MULTI_RETURN
_KPROBES = (AttachKind.TRACE_KPROBE_MULTI, AttachKind.TRACE_KPROBE_SESSION)
_UPROBES = (AttachKind.TRACE_UPROBE_MULTI, AttachKind.TRACE_UPROBE_SESSION)
_SESSIONS = {
    AttachKind.TRACE_KPROBE_SESSION: ("kprobe sessions", "6.10"),
    AttachKind.TRACE_UPROBE_SESSION: ("uprobe sessions", "6.13"),
}
# What a kernel says that has no such links: it does not know the attach type (EINVAL),
# or its attr (E2BIG), or is built without fprobe.
_MISSING = (errno.EINVAL, errno.E2BIG, errno.EOPNOTSUPP)
NO_COOKIES: Mapping[str, int] = {}


class MultiLink(Link):
    """A program on many functions; `functions` are their names."""

    __slots__ = ("functions",)

    def __init__(
        self, fd: int, kind: str, description: str, names: Sequence[str]
    ) -> None:
        super().__init__(fd, kind, description)
        self.functions = tuple(names)

    def update(self, program: Program) -> None:
        """Refused: the functions keep their program."""
        del program
        raise fixed(self.kind)


def attach_kprobe_multi(
    program: Program,
    names: str | Sequence[str],
    *,
    returns: bool = False,
    cookies: Mapping[str, int] = NO_COOKIES,
    way: str = "",
) -> MultiLink | event.EventLink:
    """Run `program` at the entry (or return) of many kernel functions.

    `names` is a pattern such as "tcp_*", of which all functions that can be traced are
    taken, or a list of names. `cookies` gives `get_attach_cookie` what it tells in each;
    0 where a function is not in it. `way="ioctl"` takes a perf event for each.

    Raises:
        AttachError: there is no such function, or one of them cannot be probed.
        NotPermitted: CAP_PERFMON or CAP_BPF is missing.
        NotSupported: a session, on a kernel without (before Linux 6.10).
    """
    _check(program, _KPROBES, "kprobe_multi")
    if isinstance(names, str):
        chosen = _matching(names)
        place = f"{len(chosen)} kernel functions like {names!r}"
    else:
        chosen = [(name, 0) for name in names]
        place = f"kernel functions {', '.join(names)}"
    found = [name for name, _ in chosen]
    _check_names(found, cookies)
    if not way:
        result = _kprobe_link(program, chosen, cookies, returns=returns)
        if result >= 0:
            about = f"{program.name!r} on {place}"
            return MultiLink(result, _kind(program, "kprobe"), about, found)
        if -result not in _MISSING:
            raise _refusal(-result, program, found, place)
    _check_session(program)
    return attach_probes(
        program,
        "kprobe",
        [Place(name, 0, 0, returns) for name in found],
        place,
        lambda number, _: _refusal(number, program, found, place),
        cookies=[cookies.get(name, 0) for name in found],
        way=way,
    )


def _matching(pattern: str) -> list[tuple[str, int]]:
    try:
        return functions.matching(pattern)
    except AttachError:
        if functions.event_source("kprobe") is None:
            check_built_in("kprobe")
        raise


def _kprobe_link(
    program: Program,
    chosen: Sequence[tuple[str, int]],
    cookies: Mapping[str, int],
    *,
    returns: bool,
) -> int:
    by_address = all(address for _, address in chosen)
    texts = [bytearray(name.encode() + b"\0") for name, _ in chosen]
    places = [address for _, address in chosen] if by_address else [
        syscall.address(text) for text in texts
    ]  # fmt: skip
    where = _words(places)
    values = _words([cookies.get(name, 0) for name, _ in chosen])
    record = attr.KPROBE_MULTI_LINK.pack(
        prog_fd=program.fd,
        attach_type=program.spec.attach_kind or 0,
        flags=_RETURN if returns else 0,
        cnt=len(chosen),
        syms=0 if by_address else syscall.address(where),
        addrs=syscall.address(where) if by_address else 0,
        cookies=syscall.address(values) if cookies else 0,
    )
    return syscall.try_bpf(syscall.Cmd.LINK_CREATE, record)


def _refusal(
    number: int, program: Program, names: Sequence[str], place: str
) -> KernelError | AttachError:
    if number in (errno.ENOENT, errno.ESRCH, errno.EINVAL):
        known = {name for name, _ in functions.symbols()}
        wrong = next((name for name in names if name not in known), names[0])
        return kprobe.refusal(errno.ENOENT, program, wrong, place)
    return event.usual(number, program, f"attach {program.name!r} to {place}")


def attach_uprobe_multi(  # noqa: PLR0913 - what the kernel's link takes
    program: Program,
    path: str,
    names: str | Sequence[str],
    *,
    returns: bool = False,
    pid: int = -1,
    cookies: Mapping[str, int] = NO_COOKIES,
    way: str = "",
) -> MultiLink | event.EventLink:
    """Run `program` at the entry (or return) of many functions of the file at `path`.

    `names` is a pattern such as "Py_*" or a list of what `attach_uprobe` takes; `path`
    and `pid` are as there, `cookies` and `way` as in `attach_kprobe_multi`.

    Raises:
        AttachError: there is no such file, or function.
        NotPermitted: CAP_PERFMON or CAP_BPF is missing.
        NotSupported: a session, on a kernel without (before Linux 6.13).
    """
    _check(program, _UPROBES, "uprobe_multi")
    with Binary.find(path, pid) as binary:
        if isinstance(names, str):
            chosen = binary.functions(names)
        else:
            chosen = [(name, binary.offset(name)) for name in names]
    found = [name for name, _ in chosen]
    _check_names(found, cookies)
    places = [Place(binary.path, offset, 0, returns) for _, offset in chosen]
    values = [cookies.get(name, 0) for name, _ in chosen]
    about = f"{len(chosen)} functions of {binary.path}"
    return attach_places(program, places, about, found, values, pid=pid, way=way)


def attach_places(  # noqa: PLR0913 - as above
    program: Program,
    places: Sequence[Place],
    about: str,
    names: Sequence[str],
    cookies: Sequence[int],
    *,
    pid: int = -1,
    way: str = "",
) -> MultiLink | event.EventLink:
    """Run `program` at places of one file that are known already.

    Raises:
        AttachError, NotPermitted, NotSupported: as `attach_uprobe_multi`.
    """
    if not way and program.spec.attach_kind in _UPROBES:
        result = _uprobe_link(program, places, cookies, pid)
        if result >= 0:
            kind = _kind(program, "uprobe")
            return MultiLink(result, kind, f"{program.name!r} on {about}", names)
        if -result not in _MISSING:
            raise uprobe.refusal(-result, program, about, pid)
    _check_session(program)
    return uprobe.attach_places(
        program, places, about, pid=pid, cookies=cookies, way=way
    )


def _uprobe_link(
    program: Program, places: Sequence[Place], cookies: Sequence[int], pid: int
) -> int:
    path = bytearray(places[0].name.encode() + b"\0")
    offsets = _words([place.offset for place in places])
    counters = _words([place.counter for place in places])
    values = _words(cookies)
    record = attr.UPROBE_MULTI_LINK.pack(
        prog_fd=program.fd,
        attach_type=program.spec.attach_kind or 0,
        path=syscall.address(path),
        offsets=syscall.address(offsets),
        ref_ctr_offsets=syscall.address(counters)
        if any(p.counter for p in places)
        else 0,
        cookies=syscall.address(values) if any(cookies) else 0,
        cnt=len(places),
        flags=_RETURN if places[0].returns else 0,
        pid=max(pid, 0),
    )
    return syscall.try_bpf(syscall.Cmd.LINK_CREATE, record)


def _words(values: Sequence[int]) -> bytearray:
    return bytearray(array("Q", values).tobytes())


def _kind(program: Program, word: str) -> str:
    return (
        f"{word}.session" if program.spec.attach_kind in _SESSIONS else f"{word}.multi"
    )


def _check(program: Program, kinds: Sequence[AttachKind], hook: str) -> None:
    if program.spec.attach_kind not in kinds:
        section = program.spec.section
        raise AttachError(
            f"program {program.name!r} ({section}) is loaded for one function at a time: "
            f"mark it as @{hook}, or put it in a section {hook.replace('_', '.')}/..."
        )


def _check_names(names: Sequence[str], cookies: Mapping[str, int]) -> None:
    if not names:
        raise AttachError("there is no function to attach to: the list is empty")
    unknown = cookies.keys() - set(names)
    if unknown:
        raise AttachError(
            f"there is a cookie for {min(unknown)!r}, which is none of the functions"
        )


def _check_session(program: Program) -> None:
    """Refuse to do without what the kernel lacks, where that changes the program."""
    kind = program.spec.attach_kind
    if kind in _SESSIONS:
        if kind in _KPROBES and functions.event_source("kprobe") is None:
            check_built_in("kprobe")
        raise NotSupported(errno.EINVAL, *_SESSIONS[kind])
