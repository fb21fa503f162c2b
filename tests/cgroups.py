"""Cgroups that tests make: gone afterwards."""

import errno
import time
from pathlib import Path

PATIENCE_S = 60.0


def remove(path: Path) -> None:
    """Remove a cgroup, if it is there; what has just ended in it may take a moment.

    Since Linux 6.19 a process leaves its cgroup after its parent was told of its end.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
