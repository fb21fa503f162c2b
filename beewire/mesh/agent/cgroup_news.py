"""Cgroups that come and go below the pods', as inotify tells them: containers started anew."""

import contextlib
import ctypes
import os
from pathlib import Path

_CREATE, _DELETE, _ONLYDIR = 0x100, 0x200, 0x0100_0000  # IN_*
_ROOM = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


class CgroupNews:
    """Directories of which the kernel tells what is made and removed in them.

    Where the kernel has no watch to give (fs.inotify.max_user_watches), nothing is told:
    whoever asks looks from time to time, too.
    """

    def __init__(self) -> None:
        self._fd: int = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self._watches: dict[str, int] = {}

    def fileno(self) -> int:
        """What is readable after a change; -1 where the kernel has no inotify to give."""
        return self._fd

    def keep(self, paths: set[str]) -> None:
        """Watch these directories from now on, and no others."""
        for path in self._watches.keys() - paths:
            _libc.inotify_rm_watch(self._fd, self._watches.pop(path))
        for path in paths - self._watches.keys():
            wanted = _CREATE | _DELETE | _ONLYDIR
            watch = _libc.inotify_add_watch(self._fd, os.fsencode(Path(path)), wanted)
            if watch >= 0:
                self._watches[path] = watch

    def drain(self) -> None:
        """Forget what was told so far."""
        with contextlib.suppress(OSError):  # EAGAIN: that was all
            while os.read(self._fd, _ROOM):
                pass

    def close(self) -> None:
        """End it. Closing twice does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
