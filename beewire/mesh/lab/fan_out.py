"""How many connections can a pod hold open at once through its sidecar's listener?

Every connection has a destination of its own; all meet in one listener. Clients tell the
destination as their first bytes, and the accepting side compares that with what
SO_ORIGINAL_DST says. A plain listener stands in for Envoy: several processes with
SO_REUSEPORT, since one process may have 20,000 descriptors or so.

    with Lab() as lab:
        print(fan_out(lab, Beewire(), 80_000))
"""

import contextlib
import errno
import resource
import select
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from beewire.errors import MeshError
from beewire.mesh.lab.board import Board
from beewire.mesh.lab.interception import Interception
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.pods import Lab

OUTBOUND_PORT = 15001
FIRST4 = 0x0AC80000  # 10.200.0.0
FIRST6 = 0xFD99 << 112
FIRST_PORT = 1024
SO_ORIGINAL_DST = 80  # IP6T_SO_ORIGINAL_DST is the same number
BACKLOG = 4096
SPARE = 500  # descriptors that a process may need besides
UNEVEN = 1.3  # how much more than its share SO_REUSEPORT may give one listener
CONNECT_S = 30.0


class FanOut(NamedTuple):
    """Connections that were open at the same moment, and those told a wrong destination.

    `refused` is what ended it, such as EADDRNOTAVAIL; "" when all that were wanted are
    there.
    """

    held: int
    wrong: int
    refused: str
    seconds: float


def fan_out(
    lab: Lab,
    interception: Interception,
    wanted: int,
    *,
    ipv6: bool = False,
    at_most_s: float = 240.0,
) -> FanOut:
    """Open `wanted` connections from pod A, hold them, and count.

    Raises:
        MeshError: no connection is possible at all.
    """
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    limit = _descriptors() - SPARE
    clients = -(-wanted // limit)
    acceptors = -(-int(wanted * UNEVEN) // limit)
    with (
        interception.install(lab.a),
        contextlib.ExitStack() as stack,
        Board("ready", "opened", "accepted", "wrong", "ended", "failed") as board,
    ):
        for number in range(acceptors):
            accept = _bound(_accept, board, number, family)
            stack.enter_context(lab.a.proxy.running(accept))
        board.expect(
            lambda: board.total("ready") == acceptors, 30 * PATIENCE, "listening"
        )
        begun = time.monotonic()
        for number in range(clients):
            share = range(wanted * number // clients, wanted * (number + 1) // clients)
            stack.enter_context(
                lab.a.app.running(_bound(_dial, board, number, share, family))
            )
        board.wait(
            lambda: (
                board.total("ended") == clients
                and board.total("accepted") >= board.total("opened")
            ),
            at_most_s,
        )
        refused = next((code for code in board["failed"] if code), 0)
        held, wrong = board.total("accepted"), board.total("wrong")
        if not held:
            raise MeshError("not one connection reached the sidecar's listener")
        said = _name(refused) if refused else ""
        if not said and held < wanted:
            said = f"{at_most_s:g} s were over"
        return FanOut(held, wrong, said, time.monotonic() - begun)


def _name(code: int) -> str:
    return errno.errorcode.get(code, str(code))


def _descriptors() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def _bound(function: Callable[..., None], *arguments: object) -> Callable[[], None]:
    return lambda: function(*arguments)


def _destination(number: int, family: int) -> tuple[str, int]:
    if family == socket.AF_INET6:
        packed = (FIRST6 + number).to_bytes(16)
    else:
        packed = (FIRST4 + number).to_bytes(4)
    return socket.inet_ntop(family, packed), FIRST_PORT + number % 5


def _dial(board: Board, number: int, share: range, family: int) -> None:
    _raise_limit()
    held = []  # closing one would make room for another
    for each in share:
        host, port = _destination(each, family)
        sock = socket.socket(family)
        sock.settimeout(CONNECT_S)
        try:
            sock.connect((host, port))
        except OSError as error:
            board["failed"][number] = error.errno or 0
            break
        sock.send(socket.inet_pton(family, host) + port.to_bytes(2))
        held.append(sock)
        board["opened"][number] += 1
    board["ended"][number] = 1
    _hold()


def _accept(board: Board, number: int, family: int) -> None:
    _raise_limit()
    ipv6 = family == socket.AF_INET6
    size = 18 if ipv6 else 6
    held = []
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if ipv6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(("::" if ipv6 else "0.0.0.0", OUTBOUND_PORT))
        listener.listen(BACKLOG)
        board["ready"][number] = 1
        while True:
            sock, _ = listener.accept()
            sock.settimeout(CONNECT_S)
            with contextlib.suppress(OSError):
                board["wrong"][number] += _told(sock, family) != sock.recv(size)
                held.append(sock)
                board["accepted"][number] += 1


def _told(sock: socket.socket, family: int) -> bytes:
    # As the client sends it: address and port. Nothing when nobody knows.
    try:
        if family == socket.AF_INET6:
            told = sock.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
            return told[8:24] + told[2:4]
        told = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    except OSError:
        return b""
    return told[4:8] + told[2:4]


def _raise_limit() -> None:
    hard = _descriptors()
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _hold() -> None:
    while True:
        select.select([], [], [], 60)
