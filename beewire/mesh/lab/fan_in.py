"""What happens when many ports of a pod meet in one listener: reproducers.

NAT rules that redirect (REDIRECT to 15006) fold connections to different ports into one
tuple when their source port is the same. conntrack then gives one of them another source
port, drops its SYN when two CPUs do so at once, or lets it into a live connection that it
has forgotten (istio#38982, istio#43301, linkerd2#15505).

    with Lab() as lab:
        print(fan_in(lab, Iptables()))
"""

import contextlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from errno import ETIMEDOUT
from typing import NamedTuple

from beewire.errors import MeshError
from beewire.mesh.lab.board import Board
from beewire.mesh.lab.interception import Interception
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.pods import Lab
from beewire.mesh.lab.tcp import reset_at_close

FIRST_PORT = 8001
PORTS = 20
SOURCE_PORT = 30001  # below ip_local_port_range: nobody else gets it
PAIRS = 100
SPINS = 10_000  # then the other has lost its CPU: let others run
ESTABLISHED_S = 1
EXPIRED_S = 2.5
TIMEOUT_S = 25.0 * PATIENCE
TIMEOUT = "netfilter/nf_conntrack_tcp_timeout_established"
TOTAL_RETRANS = 100  # where tcpi_total_retrans is in struct tcp_info


class FanIn(NamedTuple):
    """What went wrong; each connection counts once.

    `wrong_source_ports` of 20 that the listener saw, `stalls` of `connections` that two
    CPUs opened in pairs (None where only one CPU is to be had), `resets` of 20 that lived.
    """

    wrong_source_ports: int
    stalls: int | None
    resets: int
    connections: int


def fan_in(lab: Lab, interception: Interception, pairs: int = PAIRS) -> FanIn:
    """Dial pod B from pod A, which nothing intercepts.

    Raises:
        MeshError: a connection failed altogether.
    """
    with (
        interception.install(lab.b),
        lab.b.proxy.listen("0.0.0.0", 15006, backlog=4096) as listener,
    ):
        listener.settimeout(TIMEOUT_S)
        wrong = _wrong_source_ports(lab, listener)
        stalls = _stalls(lab, listener, pairs)
        resets = _resets(lab, listener)
    return FanIn(wrong, stalls, resets, 2 * pairs)


def _dial(lab: Lab, source_port: int, port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.settimeout(TIMEOUT_S)
    sock.bind((lab.a.address, source_port))
    try:
        sock.connect((lab.b.address, port))
    except OSError as error:
        sock.close()
        raise MeshError(f"a connection to port {port} failed: {error}") from error
    return sock


def _wrong_source_ports(lab: Lab, listener: socket.socket) -> int:
    with contextlib.ExitStack() as stack:
        ports = range(FIRST_PORT, FIRST_PORT + PORTS)

        def dial() -> None:
            for port in ports:
                stack.enter_context(_dial(lab, SOURCE_PORT, port))

        lab.a.namespace.run(dial)
        seen = []
        for _ in ports:
            sock, peer = listener.accept()
            stack.enter_context(sock)
            seen.append(peer[1])
    return sum(port != SOURCE_PORT for port in seen)


def _resets(lab: Lab, listener: socket.socket) -> int:
    with contextlib.suppress(FileNotFoundError):  # a namespace without conntrack
        lab.b.namespace.sysctl(TIMEOUT, ESTABLISHED_S)
    with contextlib.ExitStack() as stack:

        def dial(port: int) -> list[socket.socket]:
            sources = range(SOURCE_PORT + 1, SOURCE_PORT + 1 + PORTS)
            socks = [stack.enter_context(_begun(lab, each, port)) for each in sources]
            for sock in socks:
                _finish(sock)
            return socks

        lab.a.namespace.run(lambda: dial(FIRST_PORT))
        alive = [stack.enter_context(listener.accept()[0]) for _ in range(PORTS)]
        time.sleep(EXPIRED_S)
        lab.a.namespace.run(lambda: dial(FIRST_PORT + 1))
        # The new SYN finds the old connection's socket; what that answers, the client
        # has not asked for, and resets.
        return sum(_is_reset(sock) for sock in alive)


def _begun(lab: Lab, source_port: int, port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(False)
    sock.bind((lab.a.address, source_port))
    sock.connect_ex((lab.b.address, port))
    return sock


def _finish(sock: socket.socket) -> None:
    ready = select.select([], [sock], [], TIMEOUT_S)[1]
    errno = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if not ready or errno != 0:
        raise MeshError(f"a connection failed: {os.strerror(errno or ETIMEDOUT)}")


def _is_reset(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        sock.recv(1)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return False


def _stalls(lab: Lab, listener: socket.socket, pairs: int) -> int | None:
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if len(cpus) < 2:
        return None
    with (
        Board("pair", "stalls", "failures", "ended") as board,
        _accepting(listener),
        contextlib.ExitStack() as stack,
    ):
        for place, cpu in enumerate(cpus):
            # Bound here: a loop's variable would be another by then.
            def run(place: int = place, cpu: int = cpu) -> None:
                os.sched_setaffinity(0, {cpu})
                _race(lab, board, place, pairs)

            stack.enter_context(lab.a.app.running(run))
        # A stall takes a second.
        at_most_s = TIMEOUT_S + pairs * 2 * PATIENCE
        board.expect(lambda: board.total("ended") == 2, at_most_s, "dialling in pairs")
        if failures := board.total("failures"):
            raise MeshError(f"{failures} connections that two CPUs opened failed")
        return board.total("stalls")


@contextlib.contextmanager
def _accepting(listener: socket.socket) -> Iterator[None]:
    # Accept and close whatever comes, until the end of the block.
    ended = threading.Event()

    def accept() -> None:
        while True:
            try:
                listener.accept()[0].close()
            except TimeoutError:  # all have been accepted
                if ended.is_set():
                    return
            except OSError:  # reset before it was accepted
                continue

    usual = listener.gettimeout()
    listener.settimeout(0.1)
    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        listener.settimeout(usual)


def _race(lab: Lab, board: Board, place: int, pairs: int) -> None:
    # One of two processes that dial at the same instant, again and again.
    at, stalls, failures = board["pair"], board["stalls"], board["failures"]
    for pair in range(1, pairs + 1):
        at[place] = pair
        spins = 0
        while at[1 - place] < pair:  # sleeping would part the two
            spins += 1
            if spins > SPINS:
                os.sched_yield()
        try:
            sock = _dial(lab, SOURCE_PORT + 100 + pair, FIRST_PORT + place)
        except MeshError:
            failures[place] += 1
            continue
        stalls[place] += _sent_again(sock) > 0
        reset_at_close(sock)
        sock.close()
    board["ended"][place] = 1


def _sent_again(sock: socket.socket) -> int:
    """How many segments of a connection, its SYN included, TCP had to send again.

    A stall by what TCP counts, and not by the clock: a process that waits for its CPU has
    lost nothing.
    """
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    (total,) = struct.unpack_from("=I", info, TOTAL_RETRANS)
    return int(total)
