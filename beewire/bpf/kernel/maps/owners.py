"""Objects that maps know by their descriptor: sockets, files, cgroups, programs, maps."""

import os
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from beewire.bpf.kernel import syscall
from beewire.errors import EncodingError, MapError

T = TypeVar("T")

_FD_LIMIT = 1 << 31


class HasFileno(Protocol):
    """A socket, a Map, a Program: anything with a descriptor."""

    def fileno(self) -> int:
        """The descriptor."""


def descriptor_of(handle: object, what: str) -> int:
    """The descriptor that an int or an object with `fileno()` stands for."""
    if isinstance(handle, int):
        if not -_FD_LIMIT <= handle < _FD_LIMIT:
            raise EncodingError(f"{what} is a descriptor; {handle} cannot be one")
        return handle
    fileno = getattr(handle, "fileno", None)
    if fileno is None:
        raise EncodingError(
            f"{what} is a descriptor or an object with fileno(), "
            f"not {type(handle).__name__}"
        )
    number: int = fileno()
    return number


def while_open(owner: Any, action: Callable[[Any], T], what: str) -> T:
    """Run `action` on `owner`; if that is a path, on a descriptor that is open meanwhile.

    Raises:
        MapError: the path cannot be opened.
    """
    if not isinstance(owner, str | os.PathLike):
        return action(owner)
    try:
        fd = syscall.open_file(os.fspath(owner), os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise MapError(f"{what} {os.fspath(owner)} cannot be opened: {why}") from None
    try:
        return action(fd)
    finally:
        os.close(fd)
