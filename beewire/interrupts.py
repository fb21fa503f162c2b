"""Ctrl-C and its kin: unwind everything, in order, and exactly once."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end; `exit_code` is the shell's 128 + signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.exit_code = 128 + signum


class Interrupts:
    """The signal that came, if one did; `check` is for places where work can stop."""

    def __init__(self) -> None:
        self._signum = 0

    def stop(self, signum: int, _: FrameType | None) -> None:
        """Handle a signal: raise Stopped for the first; the end is then under way."""
        if not self._signum:
            self._signum = signum
            raise Stopped(signum)

    def check(self) -> None:
        """Raise Stopped again if a signal came.

        Python drops what a handler raises inside a destructor, a weak reference's
        callback or a fork hook. Long work calls this between its steps.
        """
        if self._signum:
            raise Stopped(self._signum)


@contextlib.contextmanager
def unwinding() -> Iterator[Interrupts]:
    """Raise Stopped where the main thread is when SIGINT, SIGTERM or SIGHUP comes.

    So `with` blocks end as they do after an error. Once the block has been stopped, the
    same signals are ignored: the process is about to end by itself. In another thread
    than the main one, nothing happens.
    """
    interrupts = Interrupts()
    before = _set_all(interrupts.stop)
    try:
        yield interrupts
    except Stopped:
        before = dict.fromkeys(before, signal.SIG_IGN)
        raise
    finally:
        _restore(before)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore the same signals in the block, which cleans up: half of it is no use."""
    before = _set_all(signal.SIG_IGN)
    try:
        yield
    finally:
        _restore(before)


@contextlib.contextmanager
def held() -> Iterator[Callable[[], None]]:
    """Keep the same signals back until the end of the block.

    Yields what a child that is made in the block has to call.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)

    def let_go() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    try:
        yield let_go
    finally:
        let_go()


Handler = Callable[[int, FrameType | None], object] | int | None


def _set_all(handler: Handler) -> dict[signal.Signals, Handler]:
    # Only the main thread may say what signals do.
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {signum: signal.signal(signum, handler) for signum in _heard()}


def _heard() -> list[signal.Signals]:
    # nohup(1) lets a process outlive its terminal by ignoring SIGHUP: that stays.
    outlives = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [each for each in STOP_SIGNALS if each != signal.SIGHUP or not outlives]


def _restore(handlers: dict[signal.Signals, Handler]) -> None:
    for signum, handler in handlers.items():
        signal.signal(signum, handler)
