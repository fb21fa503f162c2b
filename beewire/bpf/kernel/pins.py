"""Pins: names under a BPF file system that keep maps, programs and links alive."""

import errno
import os

from beewire.bpf.kernel import attr, syscall
from beewire.errors import KernelError, NotPermitted

BPFFS = "/sys/fs/bpf"


def pin(fd: int, path: str) -> None:
    """Give `fd` the name `path`, which must lie on a BPF file system.

    Raises:
        KernelError: the path exists, or its directory is missing or no bpffs.
        NotPermitted: CAP_BPF is missing.
    """
    name = bytearray(os.fsencode(path) + b"\0")
    record = attr.OBJ.pack(pathname=syscall.address(name), bpf_fd=fd)
    result = syscall.try_bpf(syscall.Cmd.OBJ_PIN, record)
    if result < 0:
        raise _refusal(-result, "OBJ_PIN", f"pin at {path}", os.path.dirname(path))  # noqa: PTH120


def open_pin(path: str) -> int:
    """A new descriptor of what is pinned at `path`; the caller closes it.

    Raises:
        KernelError: nothing is pinned there.
        NotPermitted: CAP_BPF, or the right to read the file, is missing.
    """
    name = bytearray(os.fsencode(path) + b"\0")
    record = attr.OBJ.pack(pathname=syscall.address(name))
    result = syscall.try_bpf(syscall.Cmd.OBJ_GET, record)
    if result < 0:
        raise _refusal(-result, "OBJ_GET", f"open the pin {path}", path)
    return result


def ensure_bpffs(path: str = BPFFS) -> str:
    """Mount a BPF file system at `path` unless one is there; returns `path`.

    The mount outlives the process: pins are meant to. Needs CAP_SYS_ADMIN.

    Raises:
        NotPermitted: mounting is not allowed.
        KernelError: `path` is missing, or the kernel has no bpffs.
    """
    if is_bpffs(path):
        return path
    result = syscall.mount("bpf", path)
    if result < 0:
        raise _mount_refusal(-result, path)
    return path


def is_bpffs(path: str) -> bool:
    """Whether `path` lies on a mounted BPF file system."""
    path = os.path.realpath(path)
    best, kind = "", ""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:  # noqa: PTH123 - no pathlib here
        for line in mounts:
            _, point, fs, *_ = line.split(" ")
            point = point.replace("\\040", " ")
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, fs
    return kind == "bpf"


def _refusal(number: int, command: str, about: str, place: str) -> KernelError:
    from beewire.bpf.kernel import explain  # noqa: PLC0415 - errors only

    exists = os.path.exists(place)  # noqa: PTH110
    if number in (errno.EPERM, errno.EINVAL) and exists and not is_bpffs(place):
        return KernelError(
            number,
            command,
            f"cannot {about}: {place} is not on a BPF file system; mount one with "
            f"`mount -t bpf bpf {BPFFS}` or call ensure_bpffs()",
        )
    if number == errno.ENOENT:
        return KernelError(number, command, f"cannot {about}: {place} does not exist")
    return explain.refusal(number, command, about)


def _mount_refusal(number: int, path: str) -> KernelError:
    about = f"mount a BPF file system at {path}"
    if number == errno.EPERM:
        from beewire.bpf.kernel import privilege  # noqa: PLC0415 - errors only

        why = privilege.why_forbidden(("CAP_SYS_ADMIN",))
        return NotPermitted(number, "mount", f"cannot {about}: {why}")
    if number == errno.ENODEV:
        return KernelError(number, "mount", f"cannot {about}: the kernel has no bpffs")
    return KernelError(
        number, "mount", f"cannot {about}: {os.strerror(number).lower()}"
    )
