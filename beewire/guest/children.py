"""Processes that never outlive the guest that they were started for."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

_PATIENCE_S = 3


class Child:
    """A process of ours, and what it says on its standard error."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self.process = process
        self._errors = errors

    def said(self) -> str:
        """What it wrote to its standard error so far."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()


@contextlib.contextmanager
def running(command: Sequence[str], descriptors: Sequence[int]) -> Iterator[Child]:
    """Run `command`, which inherits `descriptors`; it is ended with the block."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            bound(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=descriptors,
            # Ctrl-C on a terminal is for us: the end has an order.
            start_new_session=True,
        )
        try:
            yield Child(process, errors)
        finally:
            _end(process)


def bound(command: Sequence[str]) -> list[str]:
    """`command`, so that the kernel kills it when the process that starts it dies."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", *command] if setpriv else [*command]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
