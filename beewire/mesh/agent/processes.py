"""Processes of a pod: which run in a cgroup, which sockets they hold, copies of those."""

import ctypes
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from beewire.errors import MeshError
from beewire.mesh.agent.view import NetworkView

_PIDFD_GETFD = 438  # the same number on every architecture; since Linux 5.6
MOST_RESOLV_CONF = 1 << 16  # bytes; the resolver itself reads three lines of it
_SOCKET = re.compile(r"socket:\[(\d+)\]")

_libc = ctypes.CDLL(None, use_errno=True)


class Listener(NamedTuple):
    """A copy of a listening socket; the caller closes `fd`."""

    fd: int
    family: int
    port: int
    pid: int


def pids_in(cgroup: Path) -> list[int]:
    """Processes in a cgroup and below it; of one that is gone, none."""
    found: list[int] = []
    for folder, _, _ in os.walk(cgroup):
        try:
            found += [
                int(pid) for pid in Path(folder, "cgroup.procs").read_text().split()
            ]
        except OSError:
            continue
    return found


def is_populated(cgroup: Path) -> bool:
    """Whether a process runs in a cgroup or below it; one read, however large it is."""
    try:
        return "populated 1" in (cgroup / "cgroup.events").read_text()
    except OSError:
        return False


def sockets_of(pid: int) -> dict[int, int]:
    """The sockets that a process holds: descriptor by inode number."""
    found: dict[int, int] = {}
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)  # noqa: PTH208 - a thousand Paths would take as many us
    except OSError:
        return found
    for name in names:
        try:
            match = _SOCKET.fullmatch(os.readlink(f"{folder}/{name}"))  # noqa: PTH115
        except OSError:
            continue
        if match:
            found[int(match[1])] = int(name)
    return found


def listeners_of(view: NetworkView, pids: list[int], port: int) -> list[Listener]:
    """Copies of the sockets by which these processes listen on `port`.

    Raises:
        MeshError: a socket cannot be copied (CAP_SYS_PTRACE is missing).
    """
    found: list[Listener] = []
    if not pids:
        return found
    wanted = {
        each.inode: each
        for each in view.sockets(listening=True)
        if each.local_port == port
    }
    if not wanted:
        return found
    try:
        for pid in pids:
            for inode, number in sockets_of(pid).items():
                # A forked worker holds what its parent does: one copy of each.
                if (state := wanted.pop(inode, None)) is not None:
                    copy = copy_of(pid, number)
                    found.append(Listener(copy, state.family, port, pid))
    except BaseException:
        close_all(found)
        raise
    return found


def close_all(listeners: Iterable[Listener]) -> None:
    """Close the copies."""
    for each in listeners:
        os.close(each.fd)


def copy_of(pid: int, number: int) -> int:
    """A copy of descriptor `number` of process `pid`; the caller closes it.

    Raises:
        MeshError: the process is gone, or may not be looked into.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        raise MeshError(f"process {pid} cannot be opened: {error.strerror}") from error
    try:
        copy = int(_libc.syscall(_PIDFD_GETFD, pidfd, number, 0))
        if copy < 0:
            why = os.strerror(ctypes.get_errno())
            raise MeshError(
                f"descriptor {number} of process {pid} cannot be copied: {why}"
                " (CAP_SYS_PTRACE is needed)"
            )
        os.set_inheritable(copy, False)
        return copy
    finally:
        os.close(pidfd)


def netns_inode_of(pid: int) -> int:
    """The inode number of a process's network namespace; 0 where it cannot be told."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino  # noqa: PTH116 - called for each process
    except OSError:
        return 0


def resolv_conf_of(pid: int) -> str | None:
    """The /etc/resolv.conf that a process sees; None if it has none that is a file."""
    # A container made it: it may be a link to anything, a FIFO, or endless.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(f"/proc/{pid}/root/etc/resolv.conf", flags)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return os.read(fd, MOST_RESOLV_CONF).decode(errors="replace")
    finally:
        os.close(fd)


def owner_of(pid: int) -> tuple[int, int]:
    """The effective user and group of a process; -1 where it is gone."""
    try:
        found = os.stat(f"/proc/{pid}")  # noqa: PTH116 - as above
    except OSError:
        return -1, -1
    return found.st_uid, found.st_gid


def all_pids() -> Iterator[int]:
    """Every process there is."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - as above
        if name.isdigit():
            yield int(name)


def cgroup_of(pid: int) -> str:
    """The path of a process's cgroup2 below the mount; "" where it is gone."""
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""
    for line in text.splitlines():
        if line.startswith("0::"):
            return line[3:]
    return ""
