"""A command that waits to be let go, so that what looks at it can be ready first."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from beewire.errors import UsageError


class Child:
    """A process that has forked and not executed yet."""

    def __init__(self, pid: int, gate: int) -> None:
        self.pid = pid
        self._gate = gate

    def go(self) -> None:
        """Let it execute the command."""
        os.write(self._gate, b"\n")

    def close(self) -> int:
        """Wait for its end, after making it where it did not come; its exit code."""
        os.close(self._gate)
        found, status = os.waitpid(self.pid, os.WNOHANG)
        if not found:
            os.kill(self.pid, signal.SIGTERM)
            _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


@contextmanager
def child(command: Sequence[str]) -> Iterator[Child | None]:
    """A process for `command`, which waits; None where there is no command.

    Raises:
        UsageError: it cannot be executed.
    """
    if not command:
        yield None
        return
    waits, gate = os.pipe()
    told, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(command, waits, gate, tells)
    os.close(waits)
    os.close(tells)
    started = Child(pid, gate)
    try:
        yield started
    finally:
        started.close()
        failure = os.read(told, 256)
        os.close(told)
    if failure:
        raise UsageError(f"cannot execute {command[0]}: {failure.decode()}")


def _become(command: Sequence[str], waits: int, gate: int, tells: int) -> None:
    """In the child: wait for the word, then be the command; never returns."""
    try:
        os.close(gate)
        if os.read(waits, 1):
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.execvp(command[0], list(command))
    except OSError as error:
        os.write(tells, (error.strerror or "it failed").encode())
    finally:
        os._exit(127)
