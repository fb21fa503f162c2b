"""Run Python code in a user namespace that a BPF file system delegates to.

    python delegate.py OPTIONS PLACE CODE

OPTIONS are those of the file system ("delegate_cmds=any,delegate_maps=any"), PLACE is
where the namespace sees it. Needs CAP_SYS_ADMIN in the initial namespace, Linux 6.9.
"""

import ctypes
import os
import socket
import sys
from pathlib import Path

NEWUSER, NEWNS = 0x1000_0000, 0x0002_0000
FSOPEN, FSCONFIG, FSMOUNT, MOVE_MOUNT = 430, 431, 432, 429
SET_STRING, CREATE = 1, 6
NO_PATH, HERE = 4, -100  # MOVE_MOUNT_F_EMPTY_PATH, AT_FDCWD

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, result: int) -> int:
    """The result of a call, or the end of this process."""
    if result < 0:
        sys.exit(f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


def inside(link: socket.socket, place: str, code: str) -> None:
    """The process in the namespace: it opens the file system, which is then its own."""
    call("unshare", libc.unshare(NEWUSER | NEWNS))
    link.send(b"u")
    link.recv(1)
    context = call("fsopen", libc.syscall(FSOPEN, b"bpf", 0))
    socket.send_fds(link, [b"f"], [context])
    _, (mount,), *_ = socket.recv_fds(link, 1, 1)
    there = (HERE, place.encode(), NO_PATH)
    call("move_mount", libc.syscall(MOVE_MOUNT, mount, b"", *there))
    os.execv(sys.executable, [sys.executable, "-c", code])


def outside(link: socket.socket, child: int, options: str) -> None:
    """Root: says who is who in the namespace, and what it may do."""
    link.recv(1)
    for file in ("uid_map", "gid_map"):
        Path(f"/proc/{child}/{file}").write_text("0 0 1")
    link.send(b"m")
    _, (context,), *_ = socket.recv_fds(link, 1, 1)
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        words = (key.encode(), value.encode())
        call(key, libc.syscall(FSCONFIG, context, SET_STRING, *words, 0))
    call("create", libc.syscall(FSCONFIG, context, CREATE, None, None, 0))
    socket.send_fds(
        link, [b"m"], [call("fsmount", libc.syscall(FSMOUNT, context, 0, 0))]
    )


def main() -> int:
    """The child's exit code."""
    options, place, code = sys.argv[1:]
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        inside(theirs, place, code)
    theirs.close()
    outside(ours, child, options)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
