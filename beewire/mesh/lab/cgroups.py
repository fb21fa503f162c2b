"""Control groups of the unified hierarchy (cgroup2): make, account, kill, remove."""

import contextlib
import os
import signal
import time
from pathlib import Path

from beewire.errors import MeshError

KILL_TIMEOUT_S = 30.0


def mount_point() -> Path:
    """Where cgroup2 is mounted.

    Raises:
        MeshError: it is not.
    """
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    raise MeshError(
        "cgroup2 is not mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
    )


class Cgroup:
    """One directory of cgroup2."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the directory and those above it.

        Raises:
            MeshError: the kernel refused.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MeshError(
                f"cannot make the cgroup {self.path}: {error.strerror}"
            ) from error

    def open_procs(self) -> int:
        """Open `cgroup.procs` to write a pid into; the caller closes it."""
        return os.open(self.path / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)

    def usage_us(self) -> int:
        """CPU time of everything that ever ran in it, in microseconds."""
        for line in (self.path / "cpu.stat").read_text().splitlines():
            name, value = line.split()
            if name == "usage_usec":
                return int(value)
        raise MeshError(f"{self.path}/cpu.stat has no usage_usec")

    def freeze(self) -> None:
        """Stop everything in it and below it until `thaw`; a kill still ends it.

        Raises:
            MeshError: this kernel cannot (before Linux 5.2).
        """
        self._set_frozen("1")

    def thaw(self) -> None:
        """Let everything in it run again; it need not be frozen."""
        self._set_frozen("0")

    def _set_frozen(self, value: str) -> None:
        try:
            (self.path / "cgroup.freeze").write_text(value)
        except OSError as error:
            raise MeshError(
                f"the cgroup {self.path} cannot be frozen: {error.strerror}"
            ) from error

    def pids(self) -> list[int]:
        """Processes in it and below it."""
        found: list[int] = []
        for procs in self.path.rglob("cgroup.procs"):
            # A cgroup may go away while we look.
            with contextlib.suppress(OSError):
                found += [int(pid) for pid in procs.read_text().split()]
        return found

    def kill(self) -> None:
        """Kill every process in it and below it, and wait until they are gone."""
        deadline = time.monotonic() + KILL_TIMEOUT_S
        while self.path.is_dir() and (pids := self.pids()):
            try:
                (self.path / "cgroup.kill").write_text("1")  # since Linux 5.14
            except OSError:
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise MeshError(f"processes in {self.path} do not end: {pids}")
            time.sleep(0.005)

    def delete(self) -> None:
        """Kill what runs in it and remove it with everything below."""
        self.kill()
        below = sorted(self.path.rglob("*"), reverse=True) if self.path.is_dir() else []
        for path in (*below, self.path):
            if path.is_dir():
                _remove(path)


def _remove(path: Path) -> None:
    # The kernel may take a moment to let go of a cgroup whose last process just died.
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while True:
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise MeshError(
                    f"cannot remove the cgroup {path}: {error.strerror}"
                ) from error
            time.sleep(0.005)
        else:
            return
