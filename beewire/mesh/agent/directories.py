"""Where Beewire's state is on a node, who may touch it, and one writer at a time.

    <pins>/set/               the programs and maps that all pods share
    <pins>/pods/<id>/         one pod's links; `id` is its network namespace's cookie
    <run>/pods/<id>.json      what the pod is called, and what it was enrolled with
    <run>/lock                held by whoever changes any of it
    <run>/agent.lock          held by the agent as long as it lives
    <run>/agent.sock          where it listens

Both directories are root's, with mode 0700. The pins are the state: whatever is not in
them is rebuilt, or found to be stale.
"""

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from beewire.errors import MeshError

LOCK_TIMEOUT_S = 30.0
_POLL_S = 0.002


class Directories(NamedTuple):
    """The two directories of one node; tests and trials give others."""

    pins: Path = Path("/sys/fs/bpf/beewire")
    run: Path = Path("/run/beewire/agent")

    @property
    def set(self) -> Path:
        """The shared programs and maps."""
        return self.pins / "set"

    @property
    def socket(self) -> Path:
        """The agent's socket."""
        return self.run / "agent.sock"

    def links(self, pod_id: str) -> Path:
        """The pins of one pod's links."""
        return self.pins / "pods" / pod_id

    def record(self, pod_id: str) -> Path:
        """The record of one pod."""
        return self.run / "pods" / f"{pod_id}.json"

    def prepare(self) -> None:
        """Make the directories that are not there yet.

        Raises:
            MeshError: one belongs to somebody else, or cannot be made.
            KernelError: there is no BPF file system for the pins.
        """
        from beewire.bpf.kernel import pins  # noqa: PLC0415 - a client needs no kernel room

        private_directory(self.run)
        private_directory(self.run / "pods")
        if not self.pins.parent.exists() or not pins.is_bpffs(str(self.pins.parent)):
            pins.ensure_bpffs(str(self.pins.parent))
        pins.ensure_directory(str(self.pins))
        check_private(self.pins)
        pins.ensure_directory(str(self.pins / "pods"))


def is_roots(path: Path) -> MeshError:
    """What to tell somebody who may not look into the state of a node."""
    return MeshError(
        f"{path} is root's: run this as root, as whoever may change a pod's connections is"
        " as powerful"
    )


def node_of(environment: "os._Environ[str] | dict[str, str]") -> Directories:
    """The node that BEEWIRE_PINS and BEEWIRE_RUN name; the usual one without them."""
    usual = Directories()
    return Directories(
        Path(environment.get("BEEWIRE_PINS") or usual.pins),
        Path(environment.get("BEEWIRE_RUN") or usual.run),
    )


def private_directory(path: Path) -> None:
    """Make `path` unless it is there, for its owner alone (0700).

    Raises:
        MeshError: it cannot be made, or is somebody else's.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
    except OSError as error:
        raise MeshError(f"cannot make {path}: {error.strerror}") from error
    check_private(path)


def check_private(path: Path) -> None:
    """Make sure that nobody but this user can reach into `path`.

    Raises:
        MeshError: somebody can; the message says what to do.
    """
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise MeshError(f"{path} is not a directory: remove it")
    if found.st_uid != os.geteuid():
        raise MeshError(
            f"{path} belongs to user {found.st_uid}, not to {os.geteuid()}: whoever owns"
            " it could stand in for the agent; remove it"
        )
    if found.st_mode & 0o077:
        raise MeshError(
            f"{path} has mode {stat.S_IMODE(found.st_mode):04o}: others could reach the"
            f" agent's state; `chmod 0700 {path}` after a look at what is in it"
        )


@contextlib.contextmanager
def locked(node: Directories, *, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Be the only one that changes the node's state, until the end of the block.

    Raises:
        MeshError: another process does so for longer than `timeout_s`.
    """
    fd = _open_lock(node.run / "lock")
    try:
        deadline = time.monotonic() + timeout_s
        while not _try_lock(fd):
            if time.monotonic() > deadline:
                raise MeshError(
                    f"process {_holder(fd)} has held {node.run / 'lock'} for"
                    f" {timeout_s:g} s: wait for it, or end it"
                )
            time.sleep(_POLL_S)
        os.pwrite(fd, b"%-10d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(fd)


def hold_agent_lock(node: Directories) -> int:
    """The descriptor that makes this process the node's one agent until it is closed.

    Raises:
        MeshError: there is an agent already.
    """
    fd = _open_lock(node.run / "agent.lock")
    if _try_lock(fd):
        os.pwrite(fd, b"%-10d\n" % os.getpid(), 0)
        return fd
    holder = _holder(fd)
    os.close(fd)
    raise MeshError(
        f"process {holder} is this node's agent already (it holds"
        f" {node.run / 'agent.lock'}): stop it first"
    )


def agent_pid(node: Directories) -> int:
    """The pid of the agent that lives on this node; 0 if there is none."""
    try:
        fd = os.open(node.run / "agent.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(fd)
    else:
        return 0
    finally:
        os.close(fd)


def _open_lock(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        private_directory(path.parent)
        return os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise MeshError(f"{path} is root's: run this as root") from error
        raise


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(fd: int) -> int:
    text = os.pread(fd, 16, 0).split()
    return int(text[0]) if text and text[0].isdigit() else 0
