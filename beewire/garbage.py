"""No garbage collection while objects are made that stay: modules, syntax trees, events."""

from __future__ import annotations

import gc
import os
import sys
from _thread import RLock, get_ident  # what threading has it from, without its cost

from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

_lock = RLock()  # a signal's handler may compile, too
_pausing: set[int] = set()  # threads
_was_on = False  # before the first of them


class Paused:
    """While open, the cyclic collector rests; afterwards it is as it was.

    Of a thread the outermost counts. Where several threads pause it, each lets it work
    again at its end: otherwise busy threads could keep it off for good among them.

    Where modules were imported meanwhile, what was made is old then: only full
    collections look at it. Measured: of the first attach() of a process they took 6 ms
    in 30, to find nothing. Later compilations make garbage, which is young as ever.
    """

    __slots__ = ("_modules", "_outermost")

    def __enter__(self) -> None:
        global _was_on  # noqa: PLW0603 - the collector is the process's, too
        self._modules = len(sys.modules)
        me = get_ident()
        with _lock:
            self._outermost = me not in _pausing
            if self._outermost:
                if not _pausing:
                    _was_on = gc.isenabled()
                _pausing.add(me)
                gc.disable()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._outermost:
            return
        imported = len(sys.modules) > self._modules
        with _lock:
            _pausing.discard(get_ident())
            if not _was_on:
                return
            # What is frozen already was frozen by the program, for good.
            if imported and not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()  # into the oldest generation
            gc.enable()


def _forked() -> None:
    # Of the threads only this one lives on; another may have had the lock.
    global _lock  # noqa: PLW0603
    _lock = RLock()
    others = _pausing - {get_ident()}
    _pausing.difference_update(others)
    if others and not _pausing and _was_on:
        gc.enable()


os.register_at_fork(after_in_child=_forked)
