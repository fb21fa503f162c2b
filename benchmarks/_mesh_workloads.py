"""What is asked of a mesh: workloads by name, and the ports that carry them.

Every workload may reach the server by three kinds of ports, which differ in what the
sidecars make of them:

    usual       HTTP (or gRPC) in both sidecars, as a mesh has it
    l4_inbound  HTTP in the client's, TCP alone in the server's: what `shortcut` asks for
    l4          TCP alone in both: what `splice` asks for

Short connections have ports of their own, and so have uploads: the short path learns by
destination how long connections live, an application that is sent much has its socket back
for good, and no port of a real server is now the one and now the other.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from beewire.mesh.lab import GrpcLoad, LoadConfig, NginxConfig, SidecarConfig
from beewire.mesh.lab.load import Load
from beewire.mesh.lab.server import STREAM, STREAMED, STREAMED_SIZE

HTTP, L4_INBOUND, L4 = 80, 82, 9000
SHORT_HTTP, SHORT_L4_INBOUND, SHORT_L4, MIXED = 81, 83, 9001, 9002
UPLOAD, UPLOAD_L4_INBOUND, UPLOAD_L4 = 84, 85, 9003
MTLS = 8443
GRPC, GRPC_L4_INBOUND, GRPC_L4 = 50051, 50052, 50053
IDLE_PODS = 50


class Kind(Enum):
    """What the sidecars make of a port."""

    USUAL = "usual"
    L4_INBOUND = "l4_inbound"
    L4 = "l4"


HTTP_PORTS = {Kind.USUAL: HTTP, Kind.L4_INBOUND: L4_INBOUND, Kind.L4: L4}
SHORT_HTTP_PORTS = {
    Kind.USUAL: SHORT_HTTP,
    Kind.L4_INBOUND: SHORT_L4_INBOUND,
    Kind.L4: SHORT_L4,
}
UPLOAD_PORTS = {
    Kind.USUAL: UPLOAD,
    Kind.L4_INBOUND: UPLOAD_L4_INBOUND,
    Kind.L4: UPLOAD_L4,
}
GRPC_PORTS = {Kind.USUAL: GRPC, Kind.L4_INBOUND: GRPC_L4_INBOUND, Kind.L4: GRPC_L4}
TCP_PORTS = dict.fromkeys(Kind, L4)
SHORT_TCP_PORTS = dict.fromkeys(Kind, SHORT_L4)
MIXED_PORTS = dict.fromkeys(Kind, MIXED)
MTLS_PORTS = {Kind.USUAL: MTLS}
L4_PORTS = (L4, SHORT_L4, UPLOAD_L4, MIXED, GRPC_L4)
L4_INBOUND_PORTS = (
    *(L4_INBOUND, SHORT_L4_INBOUND, UPLOAD_L4_INBOUND, GRPC_L4_INBOUND),
    *L4_PORTS,
)


class Workload(NamedTuple):
    """One workload: `load(port, seconds)`, `ports` by kind, pods that idle meanwhile.

    `kept` says that connections live long, and bring no server much: none of them has a
    reason to stay on TCP.
    """

    name: str
    what: str
    load: Callable[[int, int], Load]
    ports: dict[Kind, int]
    idle: int = 0
    kept: bool = True


def _http(connections: int, path: str = "/", **more: int) -> Callable[[int, int], Load]:
    def load(port: int, seconds: int) -> Load:
        return LoadConfig(
            path=path,
            port=port,
            connections=connections,
            seconds=seconds,
            stamped=False,  # the path is checked beforehand: it costs wrk time
            **more,
        )

    return load


def _grpc(connections: int, streams: int, **more: object) -> Callable[[int, int], Load]:
    def load(port: int, seconds: int) -> Load:
        return GrpcLoad(
            port=port, connections=connections, streams=streams, seconds=seconds, **more
        )

    return load


_STREAMING = {"method": STREAM, "messages": STREAMED, "size": STREAMED_SIZE}

WORKLOADS = {
    each.name: each
    for each in (
        Workload(
            "http_c1", "GET of 100 bytes, 1 kept connection", _http(1), HTTP_PORTS
        ),
        Workload("http_c16", "GET of 100 bytes, 16 kept", _http(16), HTTP_PORTS),
        Workload("http_c64", "GET of 100 bytes, 64 kept", _http(64), HTTP_PORTS),
        Workload("http_64k", "GET of 64 KiB, 8 kept", _http(8, "/64k"), HTTP_PORTS),
        Workload("http_1m", "GET of 1 MiB, 4 kept", _http(4, "/1m"), HTTP_PORTS),
        Workload(
            "http_upload",
            "POST of 64 KiB, 8 kept",
            _http(8, "/upload", upload=1 << 16),
            UPLOAD_PORTS,
            kept=False,
        ),
        Workload(
            "http_close",
            "GET of 100 bytes, 16 at a time, a new connection each",
            _http(16, close=True),
            SHORT_HTTP_PORTS,
            kept=False,
        ),
        Workload(
            "tcp_c16", "as http_c16, for sidecars plain TCP", _http(16), TCP_PORTS
        ),
        Workload(
            "tcp_close16",
            "as http_close, for sidecars plain TCP: new connections on every leg",
            _http(16, close=True),
            SHORT_TCP_PORTS,
            kept=False,
        ),
        Workload(
            "grpc_unary",
            "gRPC calls of 100 bytes both ways, 4 x 4 at a time",
            _grpc(4, 4),
            GRPC_PORTS,
        ),
        Workload(
            "grpc_stream",
            "gRPC calls of 100 messages of 1 KiB both ways, 2 x 2 at a time",
            _grpc(2, 2, **_STREAMING),
            GRPC_PORTS,
        ),
        Workload(
            "mtls_c16",
            "as http_c16, mutual TLS between sidecars",
            _http(16),
            MTLS_PORTS,
        ),
        Workload(
            "mixed",
            "plain TCP for sidecars, one request in 8 ends its connection",
            _http(16, close_one_in=8),
            MIXED_PORTS,
            kept=False,
        ),
        Workload(
            "idle50",
            f"as http_c16, beside {IDLE_PODS} idle pods with sidecars",
            _http(16),
            HTTP_PORTS,
            idle=IDLE_PODS,
        ),
    )
}

# Pod A's sidecar, and pod B's: they differ in the ports of the kind L4_INBOUND. Nothing
# is found out about what a port carries, nothing said of who passed it on: as lean as
# Envoy can be.
_COMMON = {"mutual_tls": (MTLS,), "sniffing": False, "stamped": False}
CLIENT = SidecarConfig(
    http_ports=(
        *(HTTP, SHORT_HTTP, UPLOAD, MTLS),
        *(L4_INBOUND, SHORT_L4_INBOUND, UPLOAD_L4_INBOUND),
    ),
    grpc_ports=(GRPC, GRPC_L4_INBOUND),
    tcp_ports=L4_PORTS,
    **_COMMON,
)
SERVER = SidecarConfig(
    http_ports=(HTTP, SHORT_HTTP, UPLOAD, MTLS),
    grpc_ports=(GRPC,),
    tcp_ports=L4_INBOUND_PORTS,
    **_COMMON,
)
NEIGHBOUR = SidecarConfig(sniffing=False)
WEB = NginxConfig(
    ports=(
        *(HTTP, SHORT_HTTP, L4_INBOUND, SHORT_L4_INBOUND, MTLS),
        *(L4, SHORT_L4, MIXED, UPLOAD, UPLOAD_L4_INBOUND, UPLOAD_L4),
    ),
    grpc_ports=(GRPC, GRPC_L4_INBOUND, GRPC_L4),
)
