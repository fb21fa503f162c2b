"""Small TCP servers for a pod's application, and what they do with a connection."""

import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

from beewire.mesh.lab.place import Place

Handler = Callable[[socket.socket], None]
CHUNK = 1 << 16
IDLE_S = 30.0


def reset_at_close(sock: socket.socket) -> None:
    """Let close() reset the connection (SO_LINGER of 0 s): its tuple is free at once."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def received(sock: socket.socket) -> bytes:
    """Everything that comes until the other side closes its half."""
    return b"".join(iter(lambda: sock.recv(CHUNK), b""))


def echo(sock: socket.socket) -> None:
    """Send back what comes, as it comes."""
    for data in iter(lambda: sock.recv(CHUNK), b""):
        sock.sendall(data)


def digest(sock: socket.socket) -> None:
    """Read to the end of the client's half, then answer its SHA-256 in hexadecimal."""
    sock.sendall(hashlib.sha256(received(sock)).hexdigest().encode())


def tell_client(sock: socket.socket) -> None:
    """Answer the client's address, as the server sees it."""
    sock.sendall(str(sock.getpeername()[0]).encode())


@contextlib.contextmanager
def serving(place: Place, host: str, port: int, handler: Handler) -> Iterator[None]:
    """Serve TCP connections in `place` until the end of the block.

    Every connection is handled by a thread of this process and closed afterwards.

    Raises:
        OSError: the address cannot be bound.
    """
    with place.listen(host, port) as listener:
        threading.Thread(target=_accept, args=(listener, handler), daemon=True).start()
        try:
            yield
        finally:
            # Wakes accept(), which close() alone would not.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, handler: Handler) -> None:
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        sock.settimeout(IDLE_S)
        threading.Thread(target=_handle, args=(sock, handler), daemon=True).start()


def _handle(sock: socket.socket, handler: Handler) -> None:
    # A client that goes away ends its connection and nothing else.
    with sock, contextlib.suppress(OSError):
        handler(sock)
