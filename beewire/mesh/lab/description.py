"""What istiod knows of a sidecar: the description that all of its configuration is from."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Protocol(Enum):
    """What a Service's port says that it carries (`appProtocol`)."""

    HTTP = "http"
    TCP = "tcp"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True)
class Identity:
    """A workload's certificate, its key, and the root that signed it: PEM files."""

    chain: Path
    key: Path
    root: Path


@dataclass(frozen=True, slots=True)
class SocketMap:
    """Envoy's own short cut for sockets: its program, and the cgroup that it is for."""

    program: str
    cgroup: Path


@dataclass(frozen=True, slots=True)
class Service:
    """A Service with an address of its own, one port, and the pods behind it.

    `endpoints` are addresses of pods; `target_port` is theirs, 0 the Service's own.
    """

    host: str
    address: str
    port: int
    endpoints: tuple[str, ...]
    target_port: int = 0
    protocol: Protocol = Protocol.HTTP

    @property
    def cluster(self) -> str:
        """The name of its cluster, as istiod makes it."""
        return f"outbound|{self.port}||{self.host}"


@dataclass(frozen=True, slots=True)
class SidecarConfig:
    """One sidecar.

    The lab's pods are one headless Service with the ports `http_ports`, `grpc_ports`
    (HTTP/2) and `tcp_ports`: what is dialled there goes where it was dialled to. Between
    the sidecars the ports of `mutual_tls`, which are among them, are mutual TLS, STRICT,
    as `identity`. Requests to `trace_port`, which
    carries HTTP, too, tell the server who the client is (x-forwarded-for), and are
    written to `access_log`, one JSON object a line. `services` have addresses of their
    own. All other ports are unknown to istiod, and passed through.

    `sniffing` has Envoy find out what unknown connections carry, as istiod does unless
    PILOT_ENABLE_PROTOCOL_SNIFFING_FOR_OUTBOUND and ..._INBOUND are false. A server that
    speaks first at a port where HTTP is looked for waits forever, as under Istio.

    `stamped` has HTTP responses say whose sidecars they passed, in a header of each.

    `socket_map` has Envoy use its sockmap socket interface; a build without it warns, and
    uses the system's sockets.

    `transparent` is interception mode TPROXY: the application sees the client's address.
    Envoy then needs CAP_NET_ADMIN, and runs as root.
    """

    pod: str = ""
    outbound_port: int = 15001
    inbound_port: int = 15006
    admin_port: int = 15000
    http_ports: tuple[int, ...] = (80,)
    grpc_ports: tuple[int, ...] = ()
    tcp_ports: tuple[int, ...] = ()
    mutual_tls: tuple[int, ...] = ()
    identity: Identity | None = None
    trace_port: int = 8080
    services: tuple[Service, ...] = ()
    access_log: Path = Path("/dev/null")
    ipv6: bool = True
    sniffing: bool = True
    stamped: bool = True
    transparent: bool = False
    socket_map: SocketMap | None = None
    workers: int = 1

    @property
    def ports(self) -> dict[int, Protocol]:
        """The ports of the lab's own Service, in order."""
        http = dict.fromkeys((*self.http_ports, self.trace_port), Protocol.HTTP)
        grpc = dict.fromkeys(self.grpc_ports, Protocol.GRPC)
        tcp = dict.fromkeys(self.tcp_ports, Protocol.TCP)
        return dict(sorted((http | grpc | tcp).items()))

    def wildcards(self, port: int) -> list[tuple[str, int]]:
        """Where a listener on `port` binds: 0.0.0.0, and `::` beside it in dual stack."""
        hosts = ("0.0.0.0", "::") if self.ipv6 else ("0.0.0.0",)
        return [(host, port) for host in hosts]
