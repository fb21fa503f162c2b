"""The lines that programs print with printk, by a tracing instance of our own.

The kernel's one trace_pipe gives each line to one reader. An instance has a pipe of its
own, so that nobody's lines are taken away. Where tracefs is not mounted it is opened
without mounting it anywhere.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from beewire.bpf.kernel import syscall
from beewire.errors import BeewireError

# Helpers that print: bpf_trace_printk, bpf_trace_vprintk.
PRINTING = frozenset({6, 177})
PLACES = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
PREFIX = "bw-run-"
MARK = b"bpf_trace_printk: "
EVENT = "events/bpf_trace/bpf_trace_printk/enable"


class PrintkLines:
    """Whole lines out of a pipe that never ends. `fileno()` is readable when some wait."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""

    def fileno(self) -> int:
        """The pipe's descriptor."""
        return self._fd

    def read(self) -> list[str]:
        """The texts printed since the last call."""
        with suppress(BlockingIOError):
            while data := os.read(self._fd, 1 << 16):
                self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        texts = (line.partition(MARK)[2] for line in lines if MARK in line)
        return [text.decode(errors="replace") for text in texts]


@contextmanager
def printk_lines() -> Iterator[PrintkLines]:
    """Collect what programs print from now on, until the block ends.

    Raises:
        BeewireError: tracefs is not there, or may not be used.
    """
    with ExitStack() as stack:
        root = open_tracefs()
        stack.callback(os.close, root)
        try:
            sweep(root)
            instance = f"instances/{PREFIX}{os.getpid()}"
            os.mkdir(instance, dir_fd=root)
            stack.callback(os.rmdir, instance, dir_fd=root)
            switch = open_at(root, f"{instance}/{EVENT}", os.O_WRONLY)
            stack.callback(os.close, switch)
            os.write(switch, b"1")
            pipe = open_at(root, f"{instance}/trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
            stack.callback(os.close, pipe)
        except OSError as error:
            raise BeewireError(
                f"cannot read what programs print: {error.strerror} (tracefs)"
            ) from error
        yield PrintkLines(pipe)


def open_tracefs() -> int:
    """A descriptor of tracefs' root; the caller closes it.

    Raises:
        BeewireError: this process may not open it.
    """
    for place in PLACES:
        if Path(place, "events").is_dir():
            return os.open(place, os.O_DIRECTORY | os.O_CLOEXEC)
    root = syscall.open_file_system("tracefs")
    if root < 0:
        raise BeewireError(
            "cannot read what programs print: tracefs is not mounted and cannot be"
            f" opened ({os.strerror(-root).lower()}); as root:"
            " mount -t tracefs tracefs /sys/kernel/tracing"
        )
    return root


def open_at(root: int, path: str, flags: int) -> int:
    """Open `path` below `root`."""
    return os.open(path, flags | os.O_CLOEXEC, dir_fd=root)


def sweep(root: int) -> None:
    """Remove instances of processes that were killed before they could."""
    folder = open_at(root, "instances", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in os.listdir(folder):  # noqa: PTH208 - a descriptor, no path
            pid = name.removeprefix(PREFIX)
            if name != pid and not Path("/proc", pid).exists():
                with suppress(OSError):
                    os.rmdir(name, dir_fd=folder)
    finally:
        os.close(folder)
