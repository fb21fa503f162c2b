"""Requests and streams that are compared: what is right, and every kind of wrong."""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from beewire.mesh.lab.board import Board
from beewire.mesh.lab.server import FILES, body
from beewire.mesh.trial import asking as ask_
from beewire.mesh.trial import streaming
from beewire.mesh.trial.asking import Asking, ask
from beewire.mesh.trial.streaming import Streaming, stream

WHOLE = body(FILES[ask_.PIECES])
PATIENCE_S = 60.0
Answer = Callable[[bytes, int, int, int], bytes]


def right(head: bytes, number: int, first: int, size: int) -> bytes:
    del number
    return head + WHOLE[first : first + size]


def moved(head: bytes, number: int, first: int, size: int) -> bytes:
    del number
    return head + WHOLE[first + 1 : first + 1 + size]


def of_another(head: bytes, number: int, first: int, size: int) -> bytes:
    head = head.replace(b"x-bw-asked: %d" % number, b"x-bw-asked: %d" % (number + 1))
    return head + WHOLE[first : first + size]


def unstamped(head: bytes, number: int, first: int, size: int) -> bytes:
    del number
    head = head.replace(b"x-bw-inbound: b\r\n", b"")
    return head + WHOLE[first : first + size]


def unavailable(head: bytes, number: int, first: int, size: int) -> bytes:
    del head, number, first, size
    return b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


def cut(head: bytes, number: int, first: int, size: int) -> bytes:
    del number
    return head + WHOLE[first : first + size // 2]


@contextmanager
def serving(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on this machine; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    sock = listener.accept()[0]
                except OSError:
                    return
                threading.Thread(target=_handled, args=(sock, handle)).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _handled(sock: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    with sock, suppress(OSError):
        handle(sock)


@contextmanager
def server(answer: Answer) -> Iterator[int]:
    """A server that answers every request so; its port."""
    with serving(lambda sock: _converse(sock, answer)) as port:
        yield port


def _converse(sock: socket.socket, answer: Answer) -> None:
    while request := sock.recv(4096):
        lines = dict(
            line.split(": ", 1) for line in request.decode().split("\r\n")[1:-2]
        )
        first, last = map(int, lines["Range"].removeprefix("bytes=").split("-"))
        number, size = int(lines["X-Bw-Asked"]), last - first + 1
        head = (
            f"HTTP/1.1 206 Partial Content\r\ncontent-length: {size}\r\n"
            f"x-bw-asked: {number}\r\nx-bw-inbound: b\r\nx-bw-outbound: a\r\n\r\n"
        ).encode()
        said = answer(head, number, first, size)
        sock.sendall(said)
        if len(said) < len(head) + size:
            return


def asked(
    port: int, tmp_path: Path, total: int = 40, ages: tuple[int, ...] = (0, 3)
) -> tuple[dict[str, int], str]:
    """What was counted, and what was told of faults."""
    log = tmp_path / "faults"
    wanted = Asking("127.0.0.1", port, log, total=total, connections=4, ages=ages)
    with Board(*ask_.ROWS) as board:
        ask(wanted, board, 0)
        counted = {name: board.total(name) for name in ask_.ROWS}
    return counted, log.read_text() if log.exists() else ""


@pytest.mark.parametrize(
    ("ages", "fewest", "most"), [((0,), 4, 4), ((5, 3), 8, 17), ((0, 3), 4, 17)]
)
def test_answers_that_are_right_are_counted(
    tmp_path: Path, ages: tuple[int, ...], fewest: int, most: int
) -> None:
    with server(right) as port:
        counted, told = asked(port, tmp_path, ages=ages)

    assert counted["requests"] == 40
    assert fewest <= counted["connections"] <= most
    assert sum(counted[fault] for fault in ask_.FAULTS) == 0
    assert told == ""


@pytest.mark.parametrize(
    ("answer", "fault", "says"),
    [
        (moved, "mismatched", "right for 0, then what is at"),
        (of_another, "mismatched", "has the answer to another"),
        (unstamped, "unstamped", "not through both sidecars"),
        (unavailable, "refused", "answered b'HTTP/1.1 503"),
        (cut, "failed", "the connection ended after"),
    ],
)
def test_an_answer_that_is_wrong_is_told(
    tmp_path: Path, answer: Answer, fault: str, says: str
) -> None:
    with server(answer) as port:
        counted, told = asked(port, tmp_path, total=10)

    assert counted["requests"] == 0
    assert counted[fault] == 10
    assert says in told


def test_no_server_is_a_failure(tmp_path: Path) -> None:
    with (
        _reserved() as port,
        Board(*ask_.ROWS) as board,
        _asking(board, tmp_path, port),
    ):
        assert board.wait(lambda: board.total("failed") > 0, PATIENCE_S)


@contextmanager
def _reserved() -> Iterator[int]:
    """A port that nobody listens on, and nobody else is given."""
    with socket.socket() as bound:
        # Whoever listens with this option, too, may have it.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextmanager
def _asking(board: Board, tmp_path: Path, port: int) -> Iterator[None]:
    wanted = Asking("127.0.0.1", port, tmp_path / "faults", connections=1)
    with _process(lambda: ask(wanted, board, 0)):
        yield


@contextmanager
def _process(function: Callable[[], object]) -> Iterator[None]:
    child = multiprocessing.get_context("fork").Process(target=function, daemon=True)
    child.start()
    assert child.pid is not None
    try:
        yield
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.join()


@pytest.fixture
def echo() -> Iterator[int]:
    with _reserved() as port, _process(lambda: streaming.echo("127.0.0.1", port)):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, "the echo does not listen"
                time.sleep(0.01)
        yield port


def streamed(
    port: int, tmp_path: Path, least: dict[str, int]
) -> tuple[dict[str, int], str]:
    """What was counted when it was enough, and all streams had ended."""
    log = tmp_path / "faults"
    wanted = Streaming(
        "127.0.0.1", port, log, ages=(0.05, 0), stall_share=0.1, stall_s=0.1
    )
    with Board(*streaming.ROWS) as board:
        with _process(lambda: stream(wanted, board, 0)):
            board.wait(
                lambda: all(board.total(name) >= n for name, n in least.items()),
                PATIENCE_S,
            )
            board["ended"][0] = 1
            assert board.wait(lambda: board.total("ended") == 2, PATIENCE_S)
        counted = {name: board.total(name) for name in streaming.ROWS}
    return counted, log.read_text() if log.exists() else ""


def test_streams_come_back_whole(tmp_path: Path, echo: int) -> None:
    counted, told = streamed(
        echo, tmp_path, {"streams": 13, "stalls": 1, "streamed": 1}
    )

    assert counted["streams"] > 12
    assert counted["streamed"] > 0
    assert counted["stalls"] > 0
    assert sum(counted[fault] for fault in streaming.FAULTS) == 0
    assert told == ""


def test_a_stream_that_loses_a_byte_is_told(tmp_path: Path) -> None:
    def lose(sock: socket.socket) -> None:
        lost = False
        while data := sock.recv(1 << 16):
            sock.sendall(data if lost or len(data) < 2 else data[1:])
            lost = lost or len(data) > 1

    with serving(lose) as port:
        counted, told = streamed(port, tmp_path, {"mismatched": 1})

    assert counted["mismatched"] > 0
    assert "mismatched, stream from port" in told
