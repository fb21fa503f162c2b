"""Pins: names under a BPF file system that keep maps, programs and links alive."""

import errno
import os

from beewire.bpf.kernel import attr, syscall
from beewire.errors import KernelError, NotPermitted

BPFFS = "/sys/fs/bpf"


RDONLY = 1 << 3  # BPF_F_RDONLY


def pin(fd: int, path: str) -> None:
    """Give `fd` the name `path`, which must lie on a BPF file system.

    The kernel makes the pin readable and writable for its owner only (mode 0600).

    Raises:
        KernelError: the path exists, or its directory is missing or no bpffs.
        NotPermitted: CAP_BPF is missing.
    """
    name = _name(path, "OBJ_PIN")
    record = attr.OBJ.pack(pathname=syscall.address(name), bpf_fd=fd)
    result = syscall.try_bpf(syscall.Cmd.OBJ_PIN, record)
    if result < 0:
        place = os.path.dirname(path) or "."  # noqa: PTH120 - no pathlib here
        raise _refusal(-result, "OBJ_PIN", f"pin at {path}", place)


def open_pin(path: str, kind: str, *, read_only: bool = False) -> int:
    """A new descriptor of the `kind` ("map", "link") at `path`; the caller closes it.

    Raises:
        KernelError: nothing is pinned there, or something of another kind.
        NotPermitted: CAP_BPF, or the right to read the file, is missing.
    """
    result = open_any(path, read_only=read_only)
    found = _kind(result)
    if found and found != kind:
        os.close(result)
        about = f"{path} is the pin of a {found}, not of a {kind}"
        raise KernelError(errno.EINVAL, "OBJ_GET", about)
    return result


def open_any(path: str, *, read_only: bool = False) -> int:
    """A new descriptor of whatever is pinned at `path`; the caller closes it.

    Raises:
        KernelError: nothing is pinned there.
        NotPermitted: CAP_BPF, or the right to read the file, is missing.
    """
    name = _name(path, "OBJ_GET")
    flags = RDONLY if read_only else 0
    record = attr.OBJ.pack(pathname=syscall.address(name), file_flags=flags)
    result = syscall.try_bpf(syscall.Cmd.OBJ_GET, record)
    if result < 0:
        raise _refusal(-result, "OBJ_GET", f"open the pin {path}", path)
    return result


def _name(path: str, command: str) -> bytearray:
    name = os.fsencode(path)
    # The kernel would read up to the NUL, and pin somewhere else.
    if not name or b"\0" in name:
        raise KernelError(errno.ENOENT, command, f"{path!r} is not the path of a pin")
    return bytearray(name + b"\0")


def _kind(fd: int) -> str:
    """What `fd` is: "map", "program" or "link"; "" where /proc does not tell.

    BPF_OBJ_GET_INFO_BY_FD answers for all of them, each with a structure of its own.
    """
    from beewire.bpf.kernel import privilege  # noqa: PLC0415 - not on the start-up path

    text = "\n" + privilege.read_text(f"/proc/self/fdinfo/{fd}")
    kinds = (("map", "map"), ("prog", "program"), ("link", "link"))
    return next((kind for mark, kind in kinds if f"\n{mark}_type:" in text), "")


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


def ensure_directory(path: str) -> None:
    """Make the directory for pins, for its owner only (0700), unless it is there.

    Its parent must be there, and lie on a BPF file system.

    Raises:
        KernelError: it cannot be made.
    """
    try:
        os.mkdir(path, 0o700)  # noqa: PTH102 - no pathlib here
    except FileExistsError:
        return
    except OSError as error:
        number = error.errno or errno.EIO
        why = os.strerror(number).lower()
        raise KernelError(number, "mkdir", f"cannot make {path}: {why}") from None
    if not is_bpffs(path):
        os.rmdir(path)  # noqa: PTH106 - no pathlib here
        about = f"make a directory for pins at {path}"
        raise _refusal(errno.EPERM, "OBJ_PIN", about, os.path.dirname(path) or ".")  # noqa: PTH120


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
    from beewire.bpf.kernel import explain, privilege  # noqa: PLC0415 - errors only

    why = _why(number, command, place)
    if not why and number == errno.EPERM and not privilege.missing(("CAP_BPF",)):
        why = "a name on a BPF file system has no dot"
    if why:
        return KernelError(number, command, f"cannot {about}: {why}")
    return explain.refusal(number, command, about)


def _why(number: int, command: str, place: str) -> str:
    exists = os.path.exists(place)  # noqa: PTH110 - no pathlib here
    refused = number in (errno.EPERM, errno.EINVAL, errno.EACCES)
    if refused and exists and not is_bpffs(place):
        return (
            f"{place} is not on a BPF file system; mount one with "
            f"`mount -t bpf bpf {BPFFS}` or call ensure_bpffs()"
        )
    if number == errno.EACCES and command == "OBJ_GET" and os.access(place, os.R_OK):
        return "nothing is pinned under that name"
    return f"{place} does not exist" if number == errno.ENOENT else ""


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
