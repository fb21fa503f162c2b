"""Who owns what: every lab is a run with an id, and all its things bear that id.

    /run/beewire/lab/<id>/           state; `owner` is locked while the lab lives, and
                                     holds the owner's pid
    /run/netns/bw-<id>-<name>        network namespaces
    <cgroup2>/bw-<id>/               cgroups
    <bpffs>/bw-<id>/                 pins

The kernel drops the lock when the owner ends, however it ends. So `clean()` knows dead
runs from living ones without asking anybody.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from beewire.errors import MeshError
from beewire.mesh.lab.cgroups import Cgroup, mount_point
from beewire.mesh.lab.namespaces import DIRECTORY as NAMESPACES
from beewire.mesh.lab.namespaces import Namespace
from beewire.mesh.lab.tools import require_root

STATE = Path("/run/beewire/lab")
BPFFS = Path("/sys/fs/bpf")


class Run:
    """The names of one lab, and the lock that says it lives.

    Nothing exists before `begin()`; `end()` removes everything that bears the id, even
    what was never recorded.
    """

    def __init__(self, run_id: str | None = None) -> None:
        self.id = run_id or secrets.token_hex(3)
        self.name = f"bw-{self.id}"
        self.state = STATE / self.id
        self._owner = -1

    def namespace(self, name: str) -> Namespace:
        """The network namespace `name` of this run."""
        return Namespace(f"{self.name}-{name}")

    def cgroup(self, *parts: str) -> Cgroup:
        """The cgroup below this run's own that `parts` name."""
        return Cgroup(mount_point().joinpath(self.name, *parts))

    def begin(self) -> None:
        """Make the state directory and lock it.

        Raises:
            MeshError: the process may not, or the id is in use.
        """
        try:
            with _register():
                self.state.mkdir()
                _open_to_all(self.state)
                self._owner = _lock(self.state / "owner")
        except OSError as error:
            raise MeshError(
                f"cannot make the lab's directory {self.state}: {error.strerror}"
            ) from error
        if self._owner >= 0:
            os.write(self._owner, f"{os.getpid()}\n".encode())
        else:
            raise MeshError(f"another process owns the lab {self.id}")

    def end(self) -> None:
        """Remove everything of this run and give up the lock."""
        self._remove()
        if self._owner >= 0:
            os.close(self._owner)
            self._owner = -1

    def _remove(self) -> None:
        self.cgroup().delete()
        for path in NAMESPACES.glob(f"{self.name}-*"):
            Namespace(path.name).delete()
        shutil.rmtree(BPFFS / self.name, ignore_errors=True)
        # Last: as long as it exists, a later clean() finds what could not be removed.
        shutil.rmtree(self.state, ignore_errors=True)


def clean() -> tuple[str, ...]:
    """Remove what dead labs left behind and return their ids; living ones stay.

    Raises:
        MeshError: something cannot be removed, or the process is not root.
    """
    if not STATE.is_dir():
        return ()
    require_root()
    removed = []
    try:
        with _register():
            for path in sorted(STATE.iterdir()):
                if path.is_dir() and _is_dead(path):
                    Run(path.name).end()
                    removed.append(path.name)
    except OSError as error:
        raise MeshError(f"cannot clean {STATE}: {error.strerror}") from error
    return tuple(removed)


def _is_dead(state: Path) -> bool:
    try:
        owner = _lock(state / "owner")
    except FileNotFoundError:  # its owner has removed it since we looked
        return False
    if owner < 0:
        return False
    os.close(owner)
    return True


@contextlib.contextmanager
def _register() -> Iterator[None]:
    # A run is made and locked in two steps; clean() must not come in between.
    STATE.mkdir(parents=True, exist_ok=True)
    _open_to_all(STATE.parent)
    _open_to_all(STATE)
    fd = os.open(STATE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _open_to_all(directory: Path) -> None:
    # The sidecar reads its configuration as another user, whatever our umask is.
    directory.chmod(0o755)


def _lock(path: Path) -> int:
    # The descriptor that holds the lock, or -1 if somebody else has it.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    return fd
