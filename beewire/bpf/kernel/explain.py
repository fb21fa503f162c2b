"""Turns an errno of bpf(2) into a sentence that says what to change.

Imported only after a refusal.
"""

import errno
import os

from beewire.bpf.kernel import privilege
from beewire.errors import KernelError, NotPermitted, NotSupported

# The kernel's own "operation is not supported", which errno.h does not name.
ENOTSUPP = 524

# First mainline version of the commands that some kernels in use lack.
_SINCE = {
    "BTF_LOAD": "4.18",
    "LINK_CREATE": "5.7",
    "LINK_UPDATE": "5.7",
    "LINK_DETACH": "5.9",
    "MAP_FREEZE": "5.2",
    "MAP_DELETE_BATCH": "5.6",
    "MAP_LOOKUP_AND_DELETE_BATCH": "5.6",
    "MAP_LOOKUP_AND_DELETE_ELEM": "4.20",
    "MAP_LOOKUP_BATCH": "5.6",
    "MAP_UPDATE_BATCH": "5.6",
    "RAW_TRACEPOINT_OPEN": "4.17",
}

_REASONS = {
    errno.E2BIG: "it is larger than the kernel allows, or the kernel is too old to know "
    "one of the options",
    errno.EACCES: "access is denied: the file, map or program was opened or created "
    "without that right",
    errno.EAGAIN: "the kernel asks to try again later",
    errno.EBADF: "a descriptor is closed or of the wrong kind",
    errno.EBUSY: "something else is already in that place",
    errno.EEXIST: "it exists already",
    errno.EFAULT: "the kernel could not read the memory it was given",
    errno.EINVAL: "the kernel finds an argument invalid",
    errno.EMFILE: "this process has too many open files; raise `ulimit -n`",
    errno.ENFILE: "the system has too many open files",
    errno.ENODEV: "the target does not exist",
    errno.ENOENT: "it does not exist",
    errno.ENOMEM: "there is not enough kernel memory (look at the memory limit of this "
    "process's cgroup)",
    errno.ENOSPC: "there is no room left",
    errno.EPERM: "it is not permitted",
    errno.ENOLINK: "the program is detached already",
}

_UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, ENOTSUPP)


def reason(number: int) -> str:
    """What `number` means here, as the end of a sentence."""
    if number in _REASONS:
        return _REASONS[number]
    if number in _UNSUPPORTED:
        return "the kernel does not support it"
    return os.strerror(number).lower()


def refusal(
    number: int, command: str, about: str, need: tuple[str, ...] = ()
) -> KernelError:
    """The error for `errno` from `command`, while trying to do what `about` says."""
    if number == errno.EPERM:
        why = privilege.why_forbidden(privilege.needed(command, need))
        return NotPermitted(number, command, f"cannot {about}: {why}")
    if number == errno.ENOSYS:
        return NotSupported(number, "bpf(2), it is built without CONFIG_BPF_SYSCALL")
    if number in _UNSUPPORTED:
        error = NotSupported(
            number, f"what it takes to {about}", _SINCE.get(command, "")
        )
        error.command = command
        return error
    name = errno.errorcode.get(number, str(number))
    return KernelError(number, command, f"cannot {about}: {reason(number)} ({name})")
