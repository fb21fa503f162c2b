"""Programs on one socket: filters, and the choice within a SO_REUSEPORT group.

The socket (or group) holds the program: it stays as long as the socket, wherever its
descriptors are, and has nothing to do with the process that attached it.
"""

import errno
import os
import struct

from beewire.bpf.kernel import syscall
from beewire.bpf.kernel.links.base import Link
from beewire.bpf.kernel.links.direct import DirectLink
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import ProgramKind
from beewire.errors import AttachError, NotPermitted
from beewire.hints import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from beewire.bpf.kernel.links.info import SocketInfo
    from beewire.bpf.kernel.maps import HasFileno

# asm-generic/socket.h
_SOL_SOCKET = 1
_DETACH_FILTER, _LOCK_FILTER, _ATTACH_BPF = 27, 44, 50
_ATTACH_REUSEPORT, _DETACH_REUSEPORT = 52, 68
_SOCKET_MODE, _FORMAT = 0o140000, 0o170000


def attach_socket_filter(
    program: Program, sock: "int | HasFileno", *, lock: bool = False
) -> Link:
    """Let `program` cut, or drop, what `sock` receives; one filter for a socket.

    `sock` is a socket or a descriptor. A filter that is there gives way. `lock` forbids
    whoever has the socket to change the filter, for good (SO_LOCK_FILTER).

    Raises:
        AttachError: it is no socket, its filter is locked, or the program is none of a
            socket.
    """
    if program.spec.kind is not ProgramKind.SOCKET_FILTER:
        raise _misfit(program, "a filter of sockets (socket)")
    link = _attach(program, sock, _ATTACH_BPF, _DETACH_FILTER, "socket_filter")
    if lock:
        _set(_fd(sock), _LOCK_FILTER, 1)
    return link


def attach_reuseport(program: Program, sock: "int | HasFileno") -> Link:
    """Let `program` choose the socket of the SO_REUSEPORT group that `sock` is of.

    One program serves the group, whichever of its sockets it was attached by; it stays
    until it is detached (Linux 5.3) or the last of them is closed. A program that is
    there gives way. `sock` needs SO_REUSEPORT set, and need not be bound yet.

    Raises:
        AttachError: it is no socket, or has no SO_REUSEPORT; or a program of another kind.
    """
    kinds = (ProgramKind.SK_REUSEPORT, ProgramKind.SOCKET_FILTER)
    if program.spec.kind not in kinds:
        raise _misfit(program, "the choice of a socket (sk_reuseport, socket)")
    return _attach(program, sock, _ATTACH_REUSEPORT, _DETACH_REUSEPORT, "sk_reuseport")


def _attach(
    program: Program, sock: "int | HasFileno", put: int, take: int, kind: str
) -> Link:
    place = f"the socket of descriptor {_fd(sock)}"
    own = syscall.duplicate(_fd(sock))
    number = os.fstat(own).st_ino

    def attach(other: Program) -> None:
        result = _set(own, put, other.fd)
        if result < 0:
            raise _refusal(-result, other, place, kind)

    def tell(program_id: int) -> "SocketInfo":
        from beewire.bpf.kernel.links.info import SocketInfo  # noqa: PLC0415 - rare
        from beewire.bpf.kernel.links.kinds import LinkKind  # noqa: PLC0415

        return SocketInfo(LinkKind.UNSPEC, 0, program_id, number)

    return DirectLink(
        program,
        kind,
        f"{program.name!r} on {place}",
        put=lambda: attach(program),
        take_off=_taker(own, take),
        replace=lambda other, _own: attach(other),
        tell=tell,
        held_open=(lambda: os.close(own),),
    )


def _taker(own: int, option: int) -> "Callable[[int], None]":
    def take_off(_program: int) -> None:
        # ENOENT: it was taken off meanwhile, or the group is gone. The kernel does not
        # tell whose program is there.
        _set(own, option, 0)

    return take_off


def detach_socket(sock: "int | HasFileno") -> bool:
    """Take the filter off a socket, and the program off its group: whether any was there."""
    results = [_set(_fd(sock), each, 0) for each in (_DETACH_FILTER, _DETACH_REUSEPORT)]
    return any(result >= 0 for result in results)


def _fd(sock: "int | HasFileno") -> int:
    fd = sock if isinstance(sock, int) else sock.fileno()
    if fd < 0 or os.fstat(fd).st_mode & _FORMAT != _SOCKET_MODE:
        raise AttachError(f"{sock!r} is no open socket")
    return fd


def _set(fd: int, option: int, value: int) -> int:
    return syscall.set_socket_option(fd, _SOL_SOCKET, option, struct.pack("=i", value))


def _misfit(program: Program, what: str) -> AttachError:
    section = program.spec.section
    return AttachError(
        f"program {program.name!r} of section {section!r} does not belong on a socket: "
        f"it takes {what}"
    )


def _refusal(number: int, program: Program, place: str, kind: str) -> Exception:
    about = f"cannot attach {program.name!r} to {place}"
    if number == errno.EPERM and kind == "socket_filter":
        return AttachError(f"{about}: its filter is locked (SO_LOCK_FILTER)")
    if number == errno.EINVAL and kind == "sk_reuseport":
        return AttachError(
            f"{about}: it has no SO_REUSEPORT; set it before bind(): "
            "sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)"
        )
    if number == errno.EPERM:
        from beewire.bpf.kernel import privilege  # noqa: PLC0415 - errors only

        why = privilege.why_forbidden(("CAP_BPF",))
        return NotPermitted(number, "setsockopt", f"{about}: {why}")
    from beewire.bpf.kernel import explain  # noqa: PLC0415 - errors only

    return AttachError(f"{about}: {explain.reason(number)}")
