"""Network namespaces from outside: do something in one, tell which one it is."""

import ctypes
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from beewire.errors import MeshError

CLONE_NEWNET = 0x4000_0000
SO_NETNS_COOKIE = 71  # since Linux 5.14 (e8b9eab99232)
LOOPBACK = 1  # of every namespace: the first interface that it gets

T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)


class Interface(NamedTuple):
    """One interface as its namespace numbers and names it."""

    number: int
    name: str


def join(fd: int) -> None:
    """Move the calling thread into the network namespace behind `fd` (setns(2)).

    Raises:
        OSError: it is none, or CAP_SYS_ADMIN is missing.
    """
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), "setns")


def within(netns: Path, function: Callable[[], T]) -> T:
    """Return `function()`, called by a thread of its own inside the namespace.

    Sockets that it makes stay in the namespace. Files of its network are below
    /proc/thread-self/net and /proc/sys/net; /proc/net is another thread's.

    Raises:
        MeshError: there is no such namespace, or it may not be entered.
    """

    def inside() -> T:
        _enter(netns)
        return function()

    return in_thread(inside)


def visit(netns: Path, function: Callable[[], T]) -> T:
    """Return `function()`, called by this thread inside the namespace, and come back.

    For what takes microseconds, such as making a socket: a thread of its own, as `within`
    has, would take ten times as long.

    Raises:
        MeshError: there is no such namespace, or it may not be entered.
    """
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(netns)
        try:
            return function()
        finally:
            join(own)
    finally:
        os.close(own)


def _enter(netns: Path) -> None:
    try:
        fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise MeshError(
            f"the network namespace {netns} cannot be opened: {error.strerror}"
        ) from error
    try:
        join(fd)
    except OSError as error:
        raise MeshError(
            f"the network namespace {netns} cannot be entered: {error.strerror}"
        ) from error
    finally:
        os.close(fd)


def in_thread(function: Callable[[], T]) -> T:
    """Return `function()`, called by a thread that ends with it.

    setns and unshare move one thread; a thread that ends takes the change with it.
    """
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


def cookie(netns: Path) -> int:
    """The number by which programs know a namespace (`bpf_get_netns_cookie`).

    Unique while the machine runs, and never used twice.

    Raises:
        MeshError: there is no such namespace, or the kernel does not tell (before
            Linux 5.14).
    """
    return visit(netns, own_cookie)


def own_cookie() -> int:
    """The cookie of the calling thread's namespace.

    Raises:
        MeshError: the kernel does not tell (before Linux 5.14).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return cookie_of(sock)


def cookie_of(sock: socket.socket) -> int:
    """The cookie of the namespace that a socket is of.

    Raises:
        MeshError: the kernel does not tell (before Linux 5.14).
    """
    try:
        told = sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    except OSError as error:
        raise MeshError(
            "this kernel does not tell a network namespace's cookie: SO_NETNS_COOKIE"
            f" is refused ({error.strerror}); mainline Linux has it since 5.14"
        ) from error
    return int.from_bytes(told, "little")


def interfaces() -> list[Interface]:
    """The interfaces of the calling thread's namespace, without loopback."""
    found = [Interface(index, name) for index, name in socket.if_nameindex()]
    return [each for each in found if each.number != LOOPBACK]
