"""Short connections that end in every way, and what is left of them in the maps."""

import contextlib
import errno
import resource
import select
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from beewire.errors import MeshError
from beewire.mesh.enrol import Enrolment, Node, Pod
from beewire.mesh.lab import Lab
from beewire.mesh.lab.board import Board
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.tcp import reset_at_close
from beewire.mesh.programs import state

CLIENTS = ACCEPTORS = 2
OUTBOUND = 15001
DESTINATIONS = 20_000  # more than there are aliases: most of them need a handshake
FIRST = 0x0AC80000  # 10.200.0.0
BACKLOG = 4096
NEGLECTED = 1  # the backlog of a listener that never accepts
SYNS = 1  # the kernel gives up after as many more: some 3 s
PARALLEL = 1000  # connections that time out at once
# Of a thousand connections; the rest are closed as usual.
RESET, ABANDONED, REFUSED, TIMED_OUT = 100, 100, 100, 2
SETTLE_S = 30.0 * PATIENCE
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
        _run_time_outs(lab, board, total * TIMED_OUT // 1000, at_most_s)
        for number in range(ACCEPTORS):
            stack.enter_context(lab.a.proxy.running(_bound(_accept, board, number)))
        board.expect(lambda: board.total("ready") == ACCEPTORS, SETTLE_S, "listening")
        for number in range(CLIENTS):
            share = range(total * number // CLIENTS, total * (number + 1) // CLIENTS)
            place = lab.a.app
            stack.enter_context(place.running(_bound(_dial, board, number, share)))
        board.expect(
            lambda: board.total("ended") == CLIENTS, at_most_s, "the connections"
        )


def _run_time_outs(lab: Lab, board: Board, wanted: int, at_most_s: float) -> None:
    # IPv6 has no aliases: each of them has an entry while it waits. Afterwards the
    # sidecar has no IPv6 listener, and others are refused.
    with lab.a.proxy.running(_bound(_neglect, board, 0)):
        board.expect(lambda: board.total("ready") == 1, SETTLE_S, "listening")
        with lab.a.app.running(_bound(_time_out, board, 0, wanted)):
            board.expect(
                lambda: board.total("ended") == 1, at_most_s, "connections timing out"
            )
    board["ready"][0] = board["ended"][0] = 0


def _bound(function: Callable[..., None], *arguments: object) -> Callable[[], None]:
    return lambda: function(*arguments)


def _accept(board: Board, number: int) -> None:
    with _listener(socket.AF_INET, BACKLOG) as listener:
        board["ready"][number] = 1
        while True:
            with contextlib.suppress(OSError):
                listener.accept()[0].close()


def _neglect(board: Board, number: int) -> None:
    with _listener(socket.AF_INET6, NEGLECTED):
        board["ready"][number] = 1
        while True:
            time.sleep(60)


def _listener(family: int, backlog: int) -> socket.socket:
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(("", OUTBOUND))
    listener.listen(backlog)
    return listener


def _dial(board: Board, number: int, share: range) -> None:
    _raise_limit()
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
        sock.settimeout(30 * PATIENCE)
        sock.connect(_destination(number))
        with contextlib.suppress(ConnectionResetError):
            sock.recv(1)
    return "closed"


def _reset(number: int) -> str:
    with socket.socket() as sock:
        reset_at_close(sock)
        sock.settimeout(30 * PATIENCE)
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


def _time_out(board: Board, number: int, wanted: int) -> None:
    # The queue takes one more than its backlog; what comes then is not answered.
    _raise_limit()
    with contextlib.ExitStack() as queue:
        for _ in range(NEGLECTED + 1):
            queue.enter_context(socket.create_connection(_destination6(0)))
        for first in range(0, wanted, PARALLEL):
            _give_up(range(first, min(first + PARALLEL, wanted)))
            board["timed_out"][number] = min(first + PARALLEL, wanted)
    board["ended"][number] = 1


def _give_up(numbers: range) -> None:
    """Dial all at once, and let the kernel give them all up."""
    with contextlib.ExitStack() as stack:
        poll = select.poll()
        waiting: dict[int, socket.socket] = {}
        for number in numbers:
            sock = stack.enter_context(socket.socket(socket.AF_INET6))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, SYNS)
            sock.setblocking(False)
            sock.connect_ex(_destination6(number))
            waiting[sock.fileno()] = sock
            poll.register(sock, select.POLLOUT)
        while waiting:
            for fd, _ in poll.poll():
                poll.unregister(fd)
                ended = waiting.pop(fd).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if ended != errno.ETIMEDOUT:
                    how = errno.errorcode.get(ended, "an answer")
                    raise MeshError(f"one that was to time out ended with {how}")


def _destination6(number: int) -> tuple[str, int]:
    return f"fd99::{number % DESTINATIONS:x}", 80


def _raise_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
