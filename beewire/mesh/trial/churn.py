"""Short connections that end in every way, and what is left of them in the maps."""

import contextlib
import resource
import socket
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from beewire.errors import MeshError
from beewire.mesh.enrol import Enrolment, Node, Pod
from beewire.mesh.lab import Lab
from beewire.mesh.lab.board import Board
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.programs import state

CLIENTS = ACCEPTORS = 2
OUTBOUND, INBOUND = 15001, 15006
DESTINATIONS = 20_000  # more than there are aliases: most of them need a handshake
FIRST = 0x0AC80000  # 10.200.0.0
RESET_AT_CLOSE = struct.pack("ii", 1, 0)
GIVE_UP_S = 0.02
PARALLEL = 64  # connections that time out at once
# Of a thousand connections; the rest are closed as usual.
RESET, ABANDONED, REFUSED, TIMED_OUT = 100, 100, 100, 2
SETTLE_S = 5.0 * PATIENCE
KINDS = ("closed", "reset", "abandoned", "refused", "timed_out")


class Churn(NamedTuple):
    """How many connections ended in which way, and what stood in the maps afterwards.

    `leaked` counts entries of handshakes while the pod is enrolled, and of all maps once
    it is withdrawn.
    """

    closed: int
    reset: int
    abandoned: int
    refused: int
    timed_out: int
    leaked: int
    seconds: float

    @property
    def connections(self) -> int:
        """All of them."""
        return sum([getattr(self, kind) for kind in KINDS])


def churn(lab: Lab, total: int, at_most_s: float = 3600.0) -> Churn:
    """Open `total` connections in pod A, which end at once.

    Raises:
        MeshError: they do not come to an end.
    """
    pod = Pod(lab.a.cgroup.path, lab.a.proxy.cgroup.path, lab.a.namespace.path)
    begun = time.monotonic()
    with Node.load() as node:
        before = entries(node)
        with node.enrol(pod) as enrolment, Board("ready", "ended", *KINDS) as board:
            _run(lab, board, total, at_most_s)
            left = _handshakes(enrolment)
            ended = {kind: board.total(kind) for kind in KINDS}
        after = entries(node)
    for name, number in before.items():
        left += max(0, after[name] - number)
    return Churn(**ended, leaked=left, seconds=time.monotonic() - begun)


def entries(node: Node) -> dict[str, int]:
    """How many entries each map of the node has that can be counted."""
    maps = {
        each.name: each
        for each in vars(state).values()
        if type(each).__name__ in ("HashMap", "PerCpuHash", "SockHash", "HashOfMaps")
    }
    return {name: len(node.loaded[each]) for name, each in maps.items()}


def _handshakes(enrolment: Enrolment) -> int:
    # What has just been closed may take a moment.
    deadline = time.monotonic() + SETTLE_S
    while (left := enrolment.handshakes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _run(lab: Lab, board: Board, total: int, at_most_s: float) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(ACCEPTORS):
            stack.enter_context(lab.a.proxy.running(_bound(_accept, board, number)))
        stack.enter_context(lab.a.proxy.running(_bound(_neglect, board, ACCEPTORS)))
        board.expect(
            lambda: board.total("ready") == ACCEPTORS + 1, SETTLE_S, "listening"
        )
        for number in range(CLIENTS):
            share = range(total * number // CLIENTS, total * (number + 1) // CLIENTS)
            place = lab.a.app
            stack.enter_context(place.running(_bound(_dial, board, number, share)))
        own = lab.a.address
        stack.enter_context(
            lab.a.proxy.running(_bound(_time_out, board, CLIENTS, own, total))
        )
        board.expect(
            lambda: board.total("ended") == CLIENTS + 1, at_most_s, "the connections"
        )


def _bound(function: Callable[..., None], *arguments: object) -> Callable[[], None]:
    return lambda: function(*arguments)


def _accept(board: Board, number: int) -> None:
    with _listener(OUTBOUND, 4096) as listener:
        board["ready"][number] = 1
        while True:
            with contextlib.suppress(OSError):
                listener.accept()[0].close()


def _neglect(board: Board, number: int) -> None:
    # Listens and never accepts: its queue is full after two.
    with _listener(INBOUND, 1):
        board["ready"][number] = 1
        while True:
            time.sleep(60)


def _listener(port: int, backlog: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen(backlog)
    return listener


def _dial(board: Board, number: int, share: range) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for each in share:
        turn = each % 1000
        if turn < RESET:
            kind = _reset(each)
        elif turn < RESET + ABANDONED:
            kind = _abandon(each)
        elif turn < RESET + ABANDONED + REFUSED:
            kind = _be_refused()
        elif turn >= 1000 - TIMED_OUT:
            continue  # by another process: they take their time
        else:
            kind = _close(each)
        board[kind][number] += 1
    board["ended"][number] = 1


def _destination(number: int) -> tuple[str, int]:
    address = FIRST + number % DESTINATIONS
    return socket.inet_ntoa(address.to_bytes(4)), 80


def _close(number: int) -> str:
    # The server closes first, so that no port of ours waits.
    with socket.socket() as sock:
        sock.settimeout(10 * PATIENCE)
        sock.connect(_destination(number))
        with contextlib.suppress(ConnectionResetError):
            sock.recv(1)
    return "closed"


def _reset(number: int) -> str:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        sock.settimeout(10 * PATIENCE)
        sock.connect(_destination(number))
    return "reset"


def _abandon(number: int) -> str:
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(_destination(number))
    return "abandoned"


def _be_refused() -> str:
    # The sidecar has no IPv6 listener here.
    with socket.socket(socket.AF_INET6) as sock:
        if sock.connect_ex(("fd99::1", 80)) == 0:
            raise MeshError("a connection that was to be refused was not")
    return "refused"


def _time_out(board: Board, number: int, own: str, total: int) -> None:
    # The sidecar calls its own pod, and its inbound listener does not accept.
    wanted = total * TIMED_OUT // 1000
    done = 0
    while done < wanted:
        socks = [socket.socket() for _ in range(min(PARALLEL, wanted - done))]
        for at, sock in enumerate(socks):
            sock.setblocking(False)
            sock.connect_ex((own, 1024 + (done + at) % DESTINATIONS))
        time.sleep(GIVE_UP_S)
        for sock in socks:
            sock.close()
        done += len(socks)
        board["timed_out"][number] = done
    board["ended"][number] = 1
