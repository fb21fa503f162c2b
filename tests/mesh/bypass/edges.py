"""Readers that wait for the next edge of epoll, and stop before nothing is left."""

import select
import socket

from tests.mesh.bypass.joined import PATIENCE_S, waiting

ROOM = 4096  # in a read


class Edges:
    """Reads by edges, and not before it is told to; `counts` as nginx does, by FIONREAD."""

    def __init__(self, sock: socket.socket, *, counts: bool) -> None:
        self.sock, self.counts = sock, counts
        self.got = bytearray()
        self.poll = select.epoll()
        self.poll.register(sock, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)

    def sees(self) -> None:
        """Have all edges that there are, and do nothing."""
        while self.poll.poll(0.2):
            pass

    def reads(self, size: int, patience_s: float = PATIENCE_S) -> bytes:
        """What comes until there are so many bytes, or no edge comes."""
        while True:
            self._read()
            if len(self.got) >= size or not self.poll.poll(patience_s):
                return bytes(self.got)

    def _read(self) -> None:
        while True:
            try:
                piece = self.sock.recv(ROOM)
            except BlockingIOError:
                return
            self.got += piece
            if len(piece) < ROOM or (self.counts and waiting(self.sock) == 0):
                return
