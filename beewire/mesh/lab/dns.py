"""A resolver in the place of Istio's agent: it answers every name, by a rule of its own.

    with resolver(pod.proxy):                 # on 127.0.0.1:15053 and [::1]:15053, as Istio
        ...
    with resolver(pod.proxy, alias=True):     # on 0.0.0.0, from the address that was asked
        ...

A name that begins with `late` is answered after a tenth of a second, so that answers can
come in another order than queries. `upstream` is asked instead, where one is named.
"""

import contextlib
import ipaddress
import selectors
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from beewire.errors import MeshError
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.place import Place

PORT = 15053
A, AAAA = 1, 28
LATE_S = 0.1
START_S = 30.0 * PATIENCE
IP_PKTINFO = 8
PKTINFO = struct.Struct("=I4s4s")  # struct in_pktinfo: interface, source, destination
HEADER = struct.Struct("!6H")
RESPONSE = 0x8180  # recursion desired and available, no error
TTL_S = 60


class Question(NamedTuple):
    """What a query asks; `raw` is the question as it stands in the message."""

    id: int
    name: str
    kind: int
    raw: bytes


def query(name: str, kind: int = A, id: int = 1) -> bytes:  # noqa: A002 - the field's name
    """A DNS query."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    head = HEADER.pack(id, 0x0100, 1, 0, 0, 0)
    return head + labels + struct.pack("!BHH", 0, kind, 1)


def question(message: bytes) -> Question:
    """The question of a query, or of its answer.

    Raises:
        ValueError: it has none.
    """
    try:
        id_, _, count, *_ = HEADER.unpack_from(message)
        labels, at = [], HEADER.size
        while (length := message[at]) != 0:
            labels.append(message[at + 1 : at + 1 + length].decode())
            at += 1 + length
        (kind,) = struct.unpack_from("!H", message, at + 1)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError("not a DNS query") from error
    if count != 1:
        raise ValueError(f"a DNS query of {count} questions")
    return Question(id_, ".".join(labels), kind, message[HEADER.size : at + 5])


def address_of(name: str, kind: int = A) -> str:
    """The address that the resolver knows for a name."""
    digest = zlib.crc32(name.lower().encode())
    if kind == AAAA:
        return str(ipaddress.IPv6Address((0x20010DB8 << 96) + digest))
    return str(ipaddress.IPv4Address(0xC6336400 + digest % 254 + 1))


def answer(message: bytes) -> bytes:
    """The resolver's answer to a query: no record for what is neither A nor AAAA."""
    asked = question(message)
    records = b""
    if asked.kind in (A, AAAA):
        data = ipaddress.ip_address(address_of(asked.name, asked.kind)).packed
        # The name is a pointer to the question's.
        records = struct.pack("!HHHIH", 0xC00C, asked.kind, 1, TTL_S, len(data)) + data
    head = HEADER.pack(asked.id, RESPONSE, 1, 1 if records else 0, 0, 0)
    return head + asked.raw + records


@contextlib.contextmanager
def resolver(
    place: Place, *, alias: bool = False, upstream: str = "", port: int = PORT
) -> Iterator[None]:
    """Answer DNS in `place`, over UDP and TCP, until the end of the block.

    Raises:
        MeshError: it does not listen within some seconds.
    """
    host = "0.0.0.0" if alias else "127.0.0.1"
    with place.running(lambda: _Resolver(host, port, upstream).serve()):
        _wait_for(place, port)
        yield


def _wait_for(place: Place, port: int) -> None:
    def is_up() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    deadline = time.monotonic() + START_S
    while not place.namespace.run(is_up):
        if time.monotonic() > deadline:
            raise MeshError(f"the resolver does not listen on port {port}")
        time.sleep(0.01)


class _Resolver:
    def __init__(self, host: str, port: int, upstream: str) -> None:
        self._upstream = upstream
        self._datagrams = [_datagrams(host, port)]
        self._listeners = [_listener(host, port)]
        with contextlib.suppress(OSError):  # the namespace may have no IPv6
            self._datagrams.append(_datagrams("::1", port))
            self._listeners.append(_listener("::1", port))

    def serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for sock in self._datagrams:
                selector.register(sock, selectors.EVENT_READ, self._datagram)
            for sock in self._listeners:
                selector.register(sock, selectors.EVENT_READ, self._accept)
            while True:
                for key, _ in selector.select():
                    with contextlib.suppress(OSError, ValueError):
                        key.data(key.fileobj)

    def _datagram(self, sock: socket.socket) -> None:
        message, ancillary, _, client = sock.recvmsg(1 << 16, 256)
        sources = [
            (level, kind, PKTINFO.pack(0, PKTINFO.unpack(data)[1], bytes(4)))
            for level, kind, data in ancillary
        ]

        def reply() -> None:
            with contextlib.suppress(OSError, ValueError):
                sock.sendmsg([self._answer(message)], sources, 0, client)

        _later(message, reply)

    def _accept(self, listener: socket.socket) -> None:
        sock, _ = listener.accept()
        threading.Thread(target=self._stream, args=(sock,), daemon=True).start()

    def _stream(self, sock: socket.socket) -> None:
        with (
            sock,
            contextlib.suppress(OSError, ValueError),
            sock.makefile("rb") as file,
        ):
            while len(head := file.read(2)) == 2:
                message = self._answer(file.read(int.from_bytes(head, "big")))
                sock.sendall(len(message).to_bytes(2, "big") + message)

    def _answer(self, message: bytes) -> bytes:
        if not self._upstream:
            return answer(message)
        family = socket.AF_INET6 if ":" in self._upstream else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(START_S)
            sock.connect((self._upstream, 53))
            sock.send(message)
            return sock.recv(1 << 16)


def _later(message: bytes, reply: Callable[[], None]) -> None:
    if question(message).name.startswith("late"):
        threading.Timer(LATE_S, reply).start()
    else:
        threading.Thread(target=reply, daemon=True).start()


def _datagrams(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if host == "0.0.0.0":
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    sock.bind((host, port))
    return sock


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(64)
    return sock
