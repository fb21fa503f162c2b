"""The system calls that the lab needs and Python 3.11 does not offer.

Each raises OSError with the kernel's errno; callers say what it means.
"""

import ctypes
import os
import signal

CLONE_NEWNET = 0x4000_0000
MS_BIND = 1 << 12
MS_REC = 1 << 14
MS_SHARED = 1 << 20
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, subject: str) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), subject)


def leave_network() -> None:
    """Give the calling thread a new, empty network namespace (unshare(2))."""
    _check(_libc.unshare(CLONE_NEWNET), "unshare")


def mount(source: str, target: str, flags: int) -> None:
    """Bind, share or move a mount (mount(2) without a file system type)."""
    _check(
        _libc.mount(source.encode(), target.encode(), None, flags, None),
        target,
    )


def unmount(target: str) -> None:
    """Take a mount away at once, whoever still uses it (umount2(2), MNT_DETACH)."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), target)


def die_with(parent: int) -> None:
    """Have the kernel kill the calling process when `parent`, its parent, ends.

    The kernel watches the *thread* that forked: start children from a thread that
    outlives them. A change of uid or gid clears the request (prctl(2)), so it is the
    last thing to do before exec.
    """
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)
