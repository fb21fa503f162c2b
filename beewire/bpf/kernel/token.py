"""BPF tokens: what a BPF file system lets a user namespace do (Linux 6.9).

Whoever mounts a bpffs may delegate commands, types of maps and programs, and attach
points to the user namespace that it belongs to. There, a process with CAP_BPF in that
namespace makes a token of it and shows that to the kernel. Beewire does so by itself
where the kernel said EPERM, with the bpffs that LIBBPF_BPF_TOKEN_PATH names, as libbpf
does, else with /sys/fs/bpf; where the variable is empty, it does not.

Imported only after EPERM.
"""

import errno
import os
from collections.abc import Callable

from beewire.bpf.kernel import attr
from beewire.errors import NotPermitted

VARIABLE = "LIBBPF_BPF_TOKEN_PATH"
DEFAULT = "/sys/fs/bpf"

_CREATE = 36  # BPF_TOKEN_CREATE
_TOKEN_FD = 1 << 16  # BPF_F_TOKEN_FD
# Where each command takes its flags and the token, by number (enum bpf_cmd).
_FIELDS = {
    0: (attr.MAP_CREATE, "map_flags", "map_token_fd"),
    5: (attr.PROG_LOAD, "prog_flags", "prog_token_fd"),
    18: (attr.BTF_LOAD, "btf_flags", "btf_token_fd"),
}
# bpf(2) as `syscall.try_bpf` has it.
Bpf = Callable[[int, bytearray], int]


def call(bpf: Bpf, cmd: int, record: bytearray) -> int:
    """The command once more with a token, or -EPERM where there is none.

    Raises:
        NotPermitted: LIBBPF_BPF_TOKEN_PATH names what gives no token.
    """
    fd = create(bpf)
    if fd < 0:
        return -errno.EPERM
    try:
        fields, flags, token = _FIELDS[cmd]
        shown = record.ljust(fields.size, b"\0")
        given = fields.integer(shown, flags)
        fields.put(shown, flags, given | _TOKEN_FD)
        fields.put(shown, token, fd)
        result = bpf(cmd, shown)
        fields.put(shown, flags, given)
        fields.put(shown, token, 0)
        record[:] = shown[: len(record)]  # the kernel told the length of a log there
        return result
    finally:
        os.close(fd)


def create(bpf: Bpf) -> int:
    """A token, which the caller closes, or -errno where there is none to be had.

    Raises:
        NotPermitted: LIBBPF_BPF_TOKEN_PATH names what gives no token.
    """
    named = os.environ.get(VARIABLE)
    if named == "":
        return -errno.ENOENT
    path = named or DEFAULT
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        result = -(error.errno or errno.EIO)
    else:
        result = bpf(_CREATE, attr.TOKEN_CREATE.pack(bpffs_fd=fd))
        os.close(fd)
    if result < 0 and named:
        raise NotPermitted(-result, "TOKEN_CREATE", _refusal(path, -result))
    return result


def _refusal(path: str, number: int) -> str:
    reasons = {
        errno.ENOENT: "it delegates nothing, or does not exist",
        errno.ENOTDIR: "it is no directory",
        errno.EINVAL: "it is not the root of a BPF file system, or the kernel has no "
        "tokens (before Linux 6.9)",
        errno.EOPNOTSUPP: "tokens are for user namespaces, not for the initial one; "
        f"unset {VARIABLE}",
        errno.EPERM: "it belongs to another user namespace, or this process lacks "
        "CAP_BPF in its own",
    }
    why = reasons.get(number, os.strerror(number).lower())
    return f"cannot make a BPF token of {path}, which {VARIABLE} names: {why}"
