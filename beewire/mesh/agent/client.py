"""Ask the agent of this node, where there is one."""

import contextlib
import os
import socket
import stat
import time
from collections.abc import Mapping
from typing import Any

from beewire.errors import MeshError
from beewire.mesh.agent import protocol
from beewire.mesh.agent.directories import Directories, agent_pid, is_roots

TIMEOUT_S = 60.0
BEGINNING_S = 30.0  # an agent may have programs to load, and an upgrade to do
_POLL_S = 0.02


def ask(
    node: Directories, do: str, arguments: Mapping[str, object] = protocol.NOTHING
) -> Any:
    """What the agent answers.

    Raises:
        NoAgent: nobody listens.
        MeshError, UsageError: what the agent told; or the socket is not to be trusted.
    """
    message = {"version": protocol.VERSION, "do": do, "with": dict(arguments)}
    with contextlib.closing(connect(node)) as sock:
        try:
            sock.sendall(protocol.frame(message))
            return protocol.result_of(protocol.receive(sock))
        except TimeoutError as error:
            raise MeshError(
                f"the agent did not answer in {TIMEOUT_S:g} s: `beewire mesh status` and"
                " its log tell what it does"
            ) from error
        except OSError as error:
            raise MeshError(f"the agent went away: {error.strerror}") from error


def comes(node: Directories) -> bool:
    """Wait for an agent that begins, or ends, to have done so; whether one listens."""
    deadline = time.monotonic() + BEGINNING_S
    while agent_pid(node) and time.monotonic() < deadline:
        try:
            connect(node).close()
        except NoAgent:
            time.sleep(_POLL_S)
        else:
            return True
    return False


class NoAgent(MeshError):  # noqa: N818 - a fact, read as one
    """No agent listens on this node."""


def connect(node: Directories) -> socket.socket:
    """A connection to the agent; the caller closes it.

    Raises:
        NoAgent: nobody listens.
        MeshError: somebody else could have put the socket there.
    """
    check_socket(node)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.settimeout(TIMEOUT_S)
    try:
        sock.connect(str(node.socket))
    except (FileNotFoundError, ConnectionRefusedError) as error:
        sock.close()
        raise NoAgent(f"no agent listens on {node.socket}") from error
    except OSError as error:
        sock.close()
        raise MeshError(
            f"the agent's socket {node.socket} cannot be used: {error.strerror}"
        ) from error
    return sock


def check_socket(node: Directories) -> None:
    """Make sure that the socket is its owner's, and that its owner is this user.

    Raises:
        NoAgent: there is none.
        MeshError: it is somebody else's, or others may write to it.
    """
    try:
        folder, found = node.run.lstat(), node.socket.lstat()
    except FileNotFoundError as error:
        raise NoAgent(f"no agent listens on {node.socket}") from error
    except PermissionError as error:
        raise is_roots(node.run) from error
    if not stat.S_ISSOCK(found.st_mode):
        raise MeshError(f"{node.socket} is no socket: remove it")
    for path, status in ((node.run, folder), (node.socket, found)):
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise MeshError(
                f"{path} belongs to user {status.st_uid}, mode"
                f" {stat.S_IMODE(status.st_mode):04o}: it has to be"
                f" {os.geteuid()}'s alone, or anybody could stand in for the agent"
            )
