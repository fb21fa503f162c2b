"""Network namespaces by name, as `ip netns` keeps them."""

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from beewire.errors import MeshError
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
            _in_thread(self._unshare)
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
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

        def inside() -> T:
            _system.join_network(fd)
            return function()

        try:
            return _in_thread(inside)
        finally:
            os.close(fd)

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


def _in_thread(function: Callable[[], T]) -> T:
    # setns and unshare move one thread; a thread that ends takes the change with it.
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
