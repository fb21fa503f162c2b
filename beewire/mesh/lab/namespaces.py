"""Network namespaces by name, as `ip netns` keeps them."""

import contextlib
import errno
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from beewire.errors import MeshError
from beewire.mesh import netns
from beewire.mesh.lab import _system

DIRECTORY = Path("/run/netns")

T = TypeVar("T")


class Namespace:
    """A named network namespace; `path` is what setns(2) and `ip netns` open."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = DIRECTORY / name

    def create(self) -> None:
        """Make the namespace.

        Raises:
            MeshError: the name is taken, or the process may not make namespaces.
        """
        try:
            _share_directory()
            self.path.touch(exist_ok=False)
            netns.in_thread(self._unshare)
        except OSError as error:
            raise MeshError(
                f"cannot make the network namespace {self.name}: {error.strerror}"
            ) from error

    def _unshare(self) -> None:
        _system.leave_network()
        # A bind mount keeps a namespace without a process in it.
        _system.mount("/proc/thread-self/ns/net", str(self.path), _system.MS_BIND)

    def delete(self) -> None:
        """Take the name away; what still runs inside keeps the namespace itself."""
        with contextlib.suppress(OSError):  # the name may exist without its mount
            _system.unmount(str(self.path))
        self.path.unlink(missing_ok=True)

    def run(self, function: Callable[[], T]) -> T:
        """Return `function()`, called by a thread inside the namespace.

        Sockets that it makes stay in the namespace. Files of its network are below
        /proc/thread-self/net and /proc/sys/net; /proc/net is another thread's.
        """
        return netns.within(self.path, function)

    def sysctl(self, name: str, value: object) -> None:
        """Set `net.<name>` (slashes between its parts) in the namespace."""
        path = Path("/proc/sys/net") / name

        def write() -> None:
            path.write_text(f"{value}\n")

        self.run(write)


def _share_directory() -> None:
    # As iproute2 does: the directory becomes a shared mount of its own, so that names
    # reach other mount namespaces and go away in them too.
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    directory = str(DIRECTORY)
    share = _system.MS_SHARED | _system.MS_REC
    try:
        _system.mount("", directory, share)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _system.mount(directory, directory, _system.MS_BIND | _system.MS_REC)
        _system.mount("", directory, share)
