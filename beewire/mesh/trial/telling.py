"""What went wrong on a connection, in words: the first faults, in a file."""

import os
import socket
import time
from pathlib import Path

MOST = 20


class FaultLog:
    """Writes the first faults of a process to `path`, a line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told = 0

    def tell(self, text: str) -> None:
        """One fault."""
        self._told += 1
        if self._told <= MOST:
            with self._path.open("a") as log:
                log.write(f"{time.time():.3f} {text}\n")


def agreeing(got: bytes, wanted: bytes) -> int:
    """How many bytes are alike before the first that is not, or the shorter one's end."""
    pairs = enumerate(zip(got, wanted, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(got), len(wanted)))


def check_connected(sock: socket.socket) -> None:
    """Whether a connect(2) that did not wait has come to a good end.

    Raises:
        OSError: it has not.
    """
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))
