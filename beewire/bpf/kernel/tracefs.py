"""tracefs: the numbers of events, and probes that are made by writing to it.

Where it is not mounted it is mounted for the moment, where no path leads.
"""

import os

from beewire.bpf.kernel import syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.errors import AttachError

_PLACES = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")


def open_tracefs(purpose: str) -> Descriptor:
    """The directory, which the caller closes.

    Raises:
        AttachError: it is not mounted, and mounting it is refused; `purpose` says for
            what it is needed.
    """
    for directory in _PLACES:
        if os.path.isdir(f"{directory}/events"):  # noqa: PTH112 - no pathlib here
            return Descriptor(syscall.open_file(directory, os.O_PATH))
    root = syscall.open_file_system("tracefs")
    if root < 0:
        raise AttachError(
            f"cannot {purpose}: tracefs is not mounted "
            "(as root: `mount -t tracefs tracefs /sys/kernel/tracing`) and mounting it "
            f"is refused ({os.strerror(-root).lower()})"
        )
    return Descriptor(root)


def read(root: Descriptor, path: str) -> bytes:
    """The content of a file.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    fd = syscall.open_file(path, dir_fd=root.fd)
    with Descriptor(fd):
        parts = []
        while part := syscall.read(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)


def append(root: Descriptor, path: str, line: str) -> None:
    """Write one command to a file such as `kprobe_events`.

    Raises:
        OSError: the kernel refuses it.
    """
    fd = syscall.open_file(path, os.O_WRONLY | os.O_APPEND, root.fd)
    with Descriptor(fd):
        syscall.write(fd, line.encode())


def names(root: Descriptor, path: str) -> list[str]:
    """The names in a directory.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    fd = syscall.open_file(path, os.O_RDONLY | os.O_DIRECTORY, root.fd)
    with Descriptor(fd):
        return os.listdir(fd)  # noqa: PTH208 - a descriptor


def has(root: Descriptor, path: str) -> bool:
    """Whether there is such a file."""
    try:
        os.stat(path, dir_fd=root.fd)
    except OSError:
        return False
    return True
