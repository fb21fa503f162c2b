"""What pilot-agent has beside Envoy in the sidecar's container: readiness and DNS.

    15020       /healthz/ready, /stats/prometheus: on all addresses
    15053       DNS over UDP and TCP, on 127.0.0.1 and ::1, as pilot-agent binds it

Names of the mesh are answered here; all others are asked of the pod's own resolvers, as
the sidecar's user, whose questions nothing captures.
"""

import contextlib
import encodings.idna  # noqa: F401 - its user may not be able to read it later
import http.server
import socket
import socketserver
import struct
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from beewire.errors import MeshError
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.pods import Pod

STATUS_PORT = 15020
DNS_PORT = 15053
ENVOY_READY = "http://127.0.0.1:15000/ready"
ENVOY_STATS = "http://127.0.0.1:15090/stats/prometheus"
TTL_S = 30
A, AAAA = 1, 28
HEADER = struct.Struct("!6H")
RESPONSE, RECURSION, NO_SUCH_NAME, FAILED = 0x8000, 0x0180, 3, 2
START_TIMEOUT_S = 5.0 * PATIENCE
UPSTREAM_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class PilotConfig:
    """Names and their addresses, and the resolvers that know all other names."""

    hosts: dict[str, str] = field(default_factory=dict)
    upstreams: tuple[str, ...] = ()
    ipv6: bool = True


@contextlib.contextmanager
def pilot(pod: Pod, config: PilotConfig | None = None) -> Iterator[None]:
    """Run the stand-in as the pod's sidecar user until the end of the block.

    Raises:
        MeshError: it does not listen: a port is taken, for example.
    """
    settings = config or PilotConfig(ipv6=pod.ipv6)
    with pod.proxy.running(lambda: _run(settings)):
        _wait(pod)
        yield


def answer(query: bytes, config: PilotConfig) -> bytes | None:
    """The response to one DNS message; None if it is for somebody else to answer.

    A name that is known and has no address of the kind that was asked for has an empty
    answer, as RFC 8305's clients expect who ask for both.
    """
    number, _, questions, *_ = HEADER.unpack_from(query)
    name, end = _name(query)
    if questions != 1 or name not in config.hosts:
        return None
    kind = struct.unpack_from("!H", query, end)[0]
    address = ip_address(config.hosts[name])
    wanted = A if address.version == 4 else AAAA
    records = b""
    if kind == wanted:
        # 0xC00C: the name is the one at offset 12, the question's (RFC 1035 4.1.4).
        fixed = struct.pack("!HHHIH", 0xC00C, kind, 1, TTL_S, len(address.packed))
        records = fixed + address.packed
    head = HEADER.pack(number, RESPONSE | RECURSION, 1, int(bool(records)), 0, 0)
    return head + query[HEADER.size : end + 4] + records


def refusal(query: bytes, code: int) -> bytes:
    """A response without an answer: `code` is RFC 1035's RCODE."""
    number, _, questions, *_ = HEADER.unpack_from(query)
    _, end = _name(query)
    head = HEADER.pack(number, RESPONSE | RECURSION | code, questions, 0, 0, 0)
    return head + query[HEADER.size : end + 4]


def _name(query: bytes) -> tuple[str, int]:
    labels, at = [], HEADER.size
    while size := query[at]:
        labels.append(query[at + 1 : at + 1 + size].decode("ascii", "replace"))
        at += 1 + size
    return ".".join(labels).lower(), at + 1


def _respond(query: bytes, config: PilotConfig) -> bytes:
    if (known := answer(query, config)) is not None:
        return known
    for resolver in config.upstreams:
        family = socket.AF_INET6 if ":" in resolver else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(UPSTREAM_TIMEOUT_S)
            try:
                sock.connect((resolver, 53))
                sock.send(query)
                return sock.recv(65535)
            except OSError:
                continue
    return refusal(query, FAILED if config.upstreams else NO_SUCH_NAME)


def _run(config: PilotConfig) -> None:
    hosts = ["127.0.0.1", "::1"] if config.ipv6 else ["127.0.0.1"]
    servers: list[socketserver.BaseServer] = []
    for host in hosts:
        servers.append(_server(host, socket.SOCK_DGRAM, config))
        servers.append(_server(host, socket.SOCK_STREAM, config))
    servers.append(_status(config))
    threads = [threading.Thread(target=each.serve_forever) for each in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _server(host: str, kind: int, config: PilotConfig) -> socketserver.BaseServer:
    class Datagram(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            query, sock = self.request
            with contextlib.suppress(OSError, IndexError, struct.error):
                sock.sendto(_respond(query, config), self.client_address)

    class Stream(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            # Every message has its length before it (RFC 1035 4.2.2).
            while len(length := self.rfile.read(2)) == 2:
                query = self.rfile.read(int.from_bytes(length))
                try:
                    response = _respond(query, config)
                except (IndexError, struct.error):
                    return
                self.wfile.write(len(response).to_bytes(2) + response)

    class Udp(socketserver.ThreadingUDPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

    class Tcp(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True
        allow_reuse_address = True

    if kind == socket.SOCK_DGRAM:
        return Udp((host, DNS_PORT), Datagram)
    return Tcp((host, DNS_PORT), Stream)


def _status(config: PilotConfig) -> socketserver.BaseServer:
    pages = {"/healthz/ready": ENVOY_READY, "/stats/prometheus": ENVOY_STATS}

    class Status(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            if page is None:
                self.send_error(404)
                return
            try:
                with urllib.request.urlopen(page, timeout=2) as upstream:
                    body = upstream.read()
            except OSError:  # Envoy is not there, or not ready
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6 if config.ipv6 else socket.AF_INET

        def server_bind(self) -> None:
            # HTTPServer's own asks a resolver for our name, which takes its time.
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = "pilot-agent", STATUS_PORT

    return Server(("::" if config.ipv6 else "0.0.0.0", STATUS_PORT), Status)


def _wait(pod: Pod) -> None:
    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", STATUS_PORT), timeout=1).close()
        except OSError:
            return False
        return True

    deadline = time.monotonic() + START_TIMEOUT_S
    while not pod.namespace.run(listens):
        if time.monotonic() > deadline:
            raise MeshError(
                f"pilot-agent's stand-in in pod {pod.name} does not listen on"
                f" {STATUS_PORT}"
            )
        time.sleep(0.01)
