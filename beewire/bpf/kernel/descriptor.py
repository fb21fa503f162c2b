"""The bases of all objects that are closed, and of those that own a descriptor."""

import os

from beewire.hints import TYPE_CHECKING, NoReturn, Self

if TYPE_CHECKING:
    from types import TracebackType


class Closing:
    """A context manager that is closed at the end of its block."""

    __slots__ = ()

    if TYPE_CHECKING:

        def close(self) -> None:
            """Give back what it holds. Closing twice does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        self.close()


class Descriptor(Closing):
    """Owns one descriptor: a context manager that closes it, once.

    What is forgotten is closed when it is collected; a Link then detaches, so keep it.
    """

    __slots__ = ("__weakref__", "_fd")

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """The descriptor; it stays this object's own.

        Raises:
            ValueError: it is closed.
        """
        if self._fd < 0:
            raise ValueError(f"{self!r} is closed")
        return self._fd

    @property
    def fd(self) -> int:
        """The same as `fileno()`."""
        return self.fileno()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._fd < 0

    def release(self) -> int:
        """Hand the descriptor to the caller, who closes it from now on."""
        fd, self._fd = self._fd, -1
        return fd

    def close(self) -> None:
        """Give the descriptor back. Closing twice does nothing."""
        fd = self.release()
        if fd >= 0:
            os.close(fd)

    def __reduce__(self) -> NoReturn:
        # A copy would close the same number a second time: another file's, by then.
        raise TypeError(f"{self!r} owns a descriptor: it is not copied or pickled")

    def __del__(self) -> None:
        # A subclass whose __init__ failed early has no descriptor yet.
        if getattr(self, "_fd", -1) >= 0:
            self.close()
