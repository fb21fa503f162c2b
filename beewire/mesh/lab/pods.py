"""Two pods on this machine, joined by a router, each with its own network and cgroups.

    with Lab() as lab:
        listener = lab.b.app.listen("0.0.0.0", 9000)
        client = lab.a.app.connect(lab.b.address, 9000)

Pod A is 10.77.1.2 and fd77:1::2, pod B 10.77.2.2 and fd77:2::2. The addresses are the
same in every lab: they exist in its own namespaces only.
"""

import atexit
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Self

from beewire.errors import MeshError
from beewire.interrupts import undisturbed
from beewire.mesh.lab.cgroups import Cgroup
from beewire.mesh.lab.namespaces import Namespace
from beewire.mesh.lab.place import Place
from beewire.mesh.lab.runs import Run
from beewire.mesh.lab.tools import INSTALL, require_root

IPV6 = Path("/proc/sys/net/ipv6")  # absent where the kernel runs without it
ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
PROXY_UID = 1337  # Istio's user and group for the sidecar


@dataclass(frozen=True, slots=True)
class LabConfig:
    """What a lab's network is like.

    `congestion` is set in every namespace and not taken over from the machine: bbr, say,
    would flatter any variant that leaves TCP out.
    """

    congestion: str = "reno"
    ipv6: bool = True


class Pod:
    """One pod: its namespace, its cgroup, and the two places in it.

    `app` is where the application runs, as root; `proxy` where its sidecar does, as
    user and group 1337. Each has a cgroup of its own below the pod's.
    """

    def __init__(self, run: Run, name: str, subnet: int, *, ipv6: bool = True) -> None:
        self.name = name
        self.state = run.state
        self.namespace = run.namespace(name)
        self.cgroup = run.cgroup(f"pod-{name}")
        self.address = f"10.77.{subnet}.2"
        self.address6 = f"fd77:{subnet}::2"
        self.gateway = f"10.77.{subnet}.1"
        self.gateway6 = f"fd77:{subnet}::1"
        self.port = f"bw-{name}"  # the router's end of its cable
        self.ipv6 = ipv6
        self.app = Place(self.namespace, Cgroup(self.cgroup.path / "app"))
        self.proxy = Place(
            self.namespace, Cgroup(self.cgroup.path / "proxy"), PROXY_UID
        )

    @property
    def addresses(self) -> tuple[str, ...]:
        """The pod's own addresses, IPv4 first."""
        return (self.address, self.address6) if self.ipv6 else (self.address,)


class Lab:
    """Pods `a` and `b` and the router between them; gone at the end of the block.

    Leaving kills what still runs in the lab's cgroups, so nothing that was started
    there stays, whoever started it. Several labs live side by side.
    """

    def __init__(self, config: LabConfig | None = None) -> None:
        self.config = config or LabConfig(ipv6=IPV6.exists())
        self.run = Run()
        self.a = Pod(self.run, "a", 1, ipv6=self.config.ipv6)
        self.b = Pod(self.run, "b", 2, ipv6=self.config.ipv6)
        self.router = self.run.namespace("node")

    @property
    def pods(self) -> tuple[Pod, Pod]:
        """Client pod, server pod."""
        return self.a, self.b

    def __enter__(self) -> Self:
        require_root()
        # A signal between here and the `with` block would else leave it all behind.
        atexit.register(self.run.end)
        try:
            self.run.begin()
            self._build()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        with undisturbed():
            self.run.end()
            atexit.unregister(self.run.end)

    @contextlib.contextmanager
    def pod(self, name: str, subnet: int) -> Iterator[Pod]:
        """One more pod, 10.77.`subnet`.2, until the end of the block."""
        pod = Pod(self.run, name, subnet, ipv6=self.config.ipv6)
        with contextlib.ExitStack() as stack:
            stack.callback(pod.namespace.delete)
            pod.namespace.create()
            self._tune(pod.namespace)
            stack.callback(pod.cgroup.delete)
            stack.callback(_wiring().unwire, self.router, pod.port)
            self._wire(pod)
            yield pod

    def _build(self) -> None:
        for namespace in (self.router, self.a.namespace, self.b.namespace):
            namespace.create()
            self._tune(namespace)
        for pod in self.pods:
            self._wire(pod)

    def _wire(self, pod: Pod) -> None:
        pod.app.cgroup.create()
        pod.proxy.cgroup.create()
        wiring = _wiring()
        leg = wiring.Leg(
            self.router,
            pod.namespace,
            pod.port,
            pod.address,
            pod.gateway,
            pod.address6,
            pod.gateway6,
        )
        wiring.wire(leg, ipv6=self.config.ipv6)

    def _tune(self, namespace: Namespace) -> None:
        settings = {"ipv4/tcp_congestion_control": self.config.congestion}
        if self.config.ipv6:
            # Nobody else can have our addresses: use them at once, without asking round.
            settings["ipv6/conf/default/accept_dad"] = "0"
            # A machine that keeps IPv6 off may still have it inside the lab.
            settings["ipv6/conf/all/disable_ipv6"] = "0"
            settings["ipv6/conf/default/disable_ipv6"] = "0"
        if namespace is self.router:
            settings["ipv4/ip_forward"] = "1"
        if namespace is self.router and self.config.ipv6:
            settings["ipv6/conf/all/forwarding"] = "1"
        for name, value in settings.items():
            try:
                namespace.sysctl(name, value)
            except OSError as error:
                refused = MeshError(
                    f"net.{name.replace('/', '.')}={value} is refused in a network"
                    f" namespace: {error.strerror}"
                )
                if name.endswith("congestion_control"):
                    refused.add_note(_how_to_allow(value))
                raise refused from error


def _wiring() -> ModuleType:
    try:
        from beewire.mesh.lab import wiring  # noqa: PLC0415 - pyroute2 is an extra
    except ModuleNotFoundError as error:
        raise MeshError(f"pyroute2 is missing: {INSTALL['pyroute2']}") from error
    return wiring


def _how_to_allow(congestion: str) -> str:
    # Outside of the first namespace only what is on this list may be the default.
    allowed = ALLOWED.read_text().strip()
    return (
        "allow it first: sysctl -w net.ipv4.tcp_allowed_congestion_control="
        f"'{allowed} {congestion}'"
    )
