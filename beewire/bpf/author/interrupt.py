"""Ctrl-C as the end of a loop over records, rather than a traceback out of it."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

from beewire.bpf.kernel.reader import Reader


class CtrlC:
    """While open, the first Ctrl-C lets the loop's body finish, the second interrupts it.

    `seen` says that it came. While `waiting` there is no body to finish, and it raises
    KeyboardInterrupt as ever. Threads other than the main one, and programs that handle
    SIGINT themselves, keep what they have.
    """

    __slots__ = ("_before", "seen", "waiting")

    def __init__(self) -> None:
        self.seen = False
        self.waiting = False
        self._before: Any = None

    def wait(self, reader: Reader[Any], timeout: float | None) -> bool:
        """Wait for records; False when the time is over, or Ctrl-C came."""
        if self.seen or (timeout is not None and timeout <= 0):
            return False
        self.waiting = True
        try:
            return reader.wait(timeout)
        except KeyboardInterrupt:
            self.seen = True
            return False
        finally:
            self.waiting = False

    def __enter__(self) -> Self:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            try:
                self._before = signal.signal(signal.SIGINT, self._handle)
            except ValueError:  # not the main thread, which alone gets signals
                self._before = None
        return self

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.waiting or self.seen:
            raise KeyboardInterrupt
        self.seen = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
