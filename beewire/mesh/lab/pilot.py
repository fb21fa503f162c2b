"""What pilot-agent has beside Envoy in the sidecar's container: readiness and DNS.

15020       /healthz/ready, /stats/prometheus: on all addresses
15053       DNS over UDP and TCP, on 127.0.0.1 and ::1 (dns.py)
"""

import contextlib
import encodings.idna  # noqa: F401 - its user may not be able to read it later
import http.server
import socket
import socketserver
import time
import urllib.request
from collections.abc import Iterator

from beewire.errors import MeshError
from beewire.mesh.lab.dns import resolver
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.pods import Pod

STATUS_PORT = 15020
ENVOY_READY = "http://127.0.0.1:15000/ready"
ENVOY_STATS = "http://127.0.0.1:15090/stats/prometheus"
START_TIMEOUT_S = 30.0 * PATIENCE


@contextlib.contextmanager
def pilot(pod: Pod) -> Iterator[None]:
    """Run the stand-in as the pod's sidecar user until the end of the block.

    Raises:
        MeshError: it does not listen: a port is taken, for example.
    """

    def serve() -> None:
        _server(ipv6=pod.ipv6).serve_forever()

    with resolver(pod.proxy), pod.proxy.running(serve):
        _wait(pod)
        yield


def _server(*, ipv6: bool) -> http.server.ThreadingHTTPServer:
    pages = {"/healthz/ready": ENVOY_READY, "/stats/prometheus": ENVOY_STATS}

    class Status(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            if page is None:
                self.send_error(404)
                return
            try:
                with urllib.request.urlopen(page, timeout=30) as upstream:
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
        address_family = socket.AF_INET6 if ipv6 else socket.AF_INET

        def server_bind(self) -> None:
            # HTTPServer's own asks a resolver for our name, which takes its time.
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = "pilot-agent", STATUS_PORT

    return Server(("::" if ipv6 else "0.0.0.0", STATUS_PORT), Status)


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
