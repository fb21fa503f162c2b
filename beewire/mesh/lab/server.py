"""The application that the lab serves: nginx, one process, bodies of known content.

`/`, `/64k` and `/1m` answer 100 bytes, 64 KiB and 1 MiB; `/upload` reads what is sent
before it answers. At the ports `grpc_ports` it speaks HTTP/2 without TLS, and answers the
methods `Unary` and `Stream` of the gRPC service `beewire.lab.Bench`: one message of 100
bytes, or 100 messages of 1 KiB, whatever was asked.
"""

import contextlib
import hashlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from beewire.errors import MeshError
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.place import how_it_ended, stopping
from beewire.mesh.lab.pods import Pod
from beewire.mesh.lab.sidecar import check_ports_free
from beewire.mesh.lab.tools import require

START_TIMEOUT_S = 30.0 * PATIENCE

NGINX = """\
daemon off;
# One process: it is the one worker, and it dies with us.
master_process off;
worker_processes 1;
pid {prefix}/nginx.pid;
error_log {prefix}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {prefix}/tmp;
  proxy_temp_path {prefix}/tmp;
  fastcgi_temp_path {prefix}/tmp;
  uwsgi_temp_path {prefix}/tmp;
  scgi_temp_path {prefix}/tmp;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  open_file_cache max=16;
  keepalive_requests 100000000;
  keepalive_timeout 1h;
  client_max_body_size 16m;
  client_body_buffer_size 1m;
  server {{
    {listen}
    root {prefix}/www;
    # One write, one packet: a file would be two.
    location = / {{ return 200 "{small}"; }}
    # Files once more, in answers that bear the number of their request.
    location {asked} {{ alias {prefix}/www/; add_header X-Bw-Asked $http_x_bw_asked; }}
    # Who the server thinks it talks to, and who it was told the client is.
    location = /who {{
      return 200 "$remote_addr $server_addr:$server_port $http_x_forwarded_for\\n";
    }}
    # Files cannot be posted to, which is an error. By then nginx has read the body,
    # because it was to copy it.
    location = /upload {{
      alias {prefix}/www/64k;
      mirror /nowhere;
      error_page 405 =200 /;
    }}
    location = /nowhere {{ internal; return 204; }}
    location {grpc}/ {{
      root {prefix}/www/grpc;
      mirror /nowhere;
      error_page 405 =200 /grpc$uri;
    }}
    location /grpc/ {{
      internal;
      types {{ }}
      default_type application/grpc;
      etag off;
      add_trailer grpc-status 0;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class NginxConfig:
    """Where the server listens: `grpc_ports` for HTTP/2, `ports` for HTTP/1.1."""

    ports: tuple[int, ...] = (80, 8080)
    grpc_ports: tuple[int, ...] = ()


SMALL = 100
ASKED = "/asked/"  # below it the files again, and X-Bw-Asked as it was asked
FILES = {"64k": 1 << 16, "1m": 1 << 20}
GRPC = "/beewire.lab.Bench"
UNARY, STREAM = f"{GRPC}/Unary", f"{GRPC}/Stream"
STREAMED, STREAMED_SIZE = 100, 1 << 10


def body(size: int) -> bytes:
    """The first `size` (even) of a row of hexadecimal digits that does not repeat."""
    return hashlib.shake_128(b"beewire").hexdigest(size // 2).encode()


def message(size: int) -> bytes:
    """A gRPC message, uncompressed: a protocol buffer with `size` bytes in field 1."""
    length = size.to_bytes(1) if size < 128 else bytes([size & 127 | 128, size >> 7])
    encoded = b"\x0a" + length + body(size)
    return b"\0" + len(encoded).to_bytes(4) + encoded


class Server:
    """A running nginx in a pod's `app` place."""

    def __init__(self, pod: Pod, process: "subprocess.Popen[bytes]") -> None:
        self.pod = pod
        self.process = process

    def check(self) -> None:
        """Check that nginx still runs.

        Raises:
            MeshError: it has ended.
        """
        if (ended := how_it_ended(self.process)) is not None:
            raise MeshError(f"nginx in pod {self.pod.name} {ended}")


@contextlib.contextmanager
def nginx(pod: Pod, config: NginxConfig | None = None) -> Iterator[Server]:
    """Run nginx as the pod's application until the end of the block.

    Raises:
        MeshError: nginx is missing, its port is taken, or it does not start.
    """
    config = config or NginxConfig()
    binary = require("nginx")
    check_ports_free(pod, (*config.ports, *config.grpc_ports))
    prefix = pod.state / f"nginx-{pod.name}"
    _write_files(prefix / "www")
    path = prefix / "nginx.conf"
    path.write_text(
        NGINX.format(
            prefix=prefix,
            listen=_listen(config, pod),
            small=body(SMALL).decode(),
            grpc=GRPC,
            asked=ASKED,
        )
    )
    said = prefix / "error.log"
    command = [binary, "-c", str(path), "-p", str(prefix), "-e", str(said)]
    with said.open("ab") as log:
        process = pod.app.start(command, stdout=log, stderr=log)
    with stopping(process):
        _wait_until_listening(pod, config.ports[0], process, said)
        yield Server(pod, process)


def _write_files(root: Path) -> None:
    methods = root / "grpc" / GRPC.removeprefix("/")
    methods.mkdir(parents=True, exist_ok=True)
    for name, size in FILES.items():
        (root / name).write_bytes(body(size))
    (methods / "Unary").write_bytes(message(SMALL))
    (methods / "Stream").write_bytes(message(STREAMED_SIZE) * STREAMED)


def _listen(config: NginxConfig, pod: Pod) -> str:
    hosts = ("", "[::]:") if pod.ipv6 else ("",)
    words = dict.fromkeys(config.ports, "backlog=4096")
    words |= dict.fromkeys(config.grpc_ports, "backlog=4096 http2")
    return "\n    ".join(
        f"listen {host}{port} {options};"
        for host in hosts
        for port, options in words.items()
    )


def _wait_until_listening(
    pod: Pod, port: int, process: "subprocess.Popen[bytes]", said: Path
) -> None:
    def accepts() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    deadline = time.monotonic() + START_TIMEOUT_S
    while not pod.namespace.run(accepts):
        if process.poll() is not None or time.monotonic() > deadline:
            error = MeshError(f"nginx in pod {pod.name} does not start")
            error.add_note(said.read_text(errors="replace").strip())
            raise error
        time.sleep(0.01)
