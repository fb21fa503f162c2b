"""Two pods that differ in who intercepts, and a world in which every address answers."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from pyroute2 import IPRoute

from beewire.mesh import enrol
from beewire.mesh.config import InterceptionMode, PodConfig
from beewire.mesh.enrol import Enrolment, Node
from beewire.mesh.lab.interception import Iptables
from beewire.mesh.lab.namespaces import Namespace
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.place import Place
from beewire.mesh.lab.pods import Lab, Pod
from beewire.mesh.lab.tools import require
from beewire.mesh.parity.nft import nft_input
from beewire.mesh.proving.attempts import Attempt
from beewire.mesh.proving.worker import Doors, perform

_AF_INET6 = 10
_NODAD = 0x02
_WORLD = 200  # the table that makes every address the world's own ...
_AFTER_MAIN = 40_000  # ... unless one of the pods has it
_TIMEOUT_S = 300.0 * PATIENCE


class Ground:
    """A lab with a second interface in each pod; a context manager."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.lab = Lab()

    def __enter__(self) -> Self:
        try:
            self._stack.enter_context(self.lab)
            self._outside = self.lab.run.cgroup("world")
            self._outside.create()
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def own(self, pod: Pod) -> dict[str, str]:
        """The pod's addresses by the names that attempts have for them."""
        subnet = 1 if pod is self.lab.a else 2
        return {
            "own4": pod.address,
            "own6": pod.address6,
            "other4": f"10.78.{subnet}.2",
            "other6": f"fd78:{subnet}::2",
        }

    def write_rules(self, config: PodConfig, *, by_nft: bool = False) -> None:
        """Give pod A the rules that Istio would write, and the routes of TPROXY.

        Raises:
            MeshError: The program that loads them is missing, or the kernel refused one.
        """
        if by_nft:
            self.lab.a.app.run([require("nft"), "-f", "-"], text=nft_input(config))
        else:
            self._stack.enter_context(Iptables(config).install(self.lab.a))
        if config.inbound_interception_mode is InterceptionMode.TPROXY:
            mark, table = config.inbound_tproxy_mark, config.inbound_tproxy_route_table
            self.lab.a.namespace.run(lambda: _local_routes(table, fwmark=mark))

    @contextlib.contextmanager
    def enrolled(self, node: Node, config: PodConfig) -> Iterator[Enrolment]:
        """Have pod B enrolled, until the end of the block."""
        pod = self.lab.b
        target = enrol.Pod(
            cgroup=pod.cgroup.path,
            proxy_cgroup=pod.proxy.cgroup.path,
            netns=pod.namespace.path,
            config=config,
        )
        with node.enrol(target) as enrolment:
            yield enrolment

    def perform(self, pod: Pod, made: Sequence[Attempt]) -> list[str]:
        """Make connections in and to `pod`; where each arrived (see `worker`)."""
        own = self.own(pod)
        with contextlib.ExitStack() as stack:
            fds = [
                *(_opened(stack, each) for each in (pod.namespace, self.lab.router)),
                *(each.open_procs() for each in (pod.app.cgroup, pod.proxy.cgroup)),
                self._outside.open_procs(),
            ]
            for fd in fds[2:]:
                stack.callback(os.close, fd)
            doors = Doors(*fds)
            place = Place(pod.namespace, pod.app.cgroup)
            return place.call(lambda: perform(doors, made, own), timeout_s=_TIMEOUT_S)

    def _build(self) -> None:
        router = self.lab.router
        for subnet, pod in enumerate(self.lab.pods, 1):
            _second_leg(router, pod, subnet)
            pod.namespace.run(_forget_where_from)
        router.run(_forget_where_from)
        router.run(lambda: _local_routes(_WORLD, priority=_AFTER_MAIN))


def _opened(stack: contextlib.ExitStack, namespace: Namespace) -> int:
    fd = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd


def _second_leg(router: Namespace, pod: Pod, subnet: int) -> None:
    # eth1, and what lies behind it.
    port = f"bw-{pod.name}1"
    with contextlib.ExitStack() as stack:
        inside = _opened(stack, pod.namespace)

        def outer() -> None:
            with IPRoute() as link:
                peer = {"ifname": "eth1", "net_ns_fd": inside}
                link.link("add", ifname=port, kind="veth", peer=peer)
                _raise(link, port, (f"10.78.{subnet}.1", 24), (f"fd78:{subnet}::1", 64))

        def inner() -> None:
            with IPRoute() as link:
                _raise(
                    link, "eth1", (f"10.78.{subnet}.2", 24), (f"fd78:{subnet}::2", 64)
                )
                link.route("add", dst="172.31.0.0/16", gateway=f"10.78.{subnet}.1")
                gateway = f"fd78:{subnet}::1"
                link.route("add", dst="fd99::/64", gateway=gateway, family=_AF_INET6)

        router.run(outer)
        pod.namespace.run(inner)


def _raise(link: IPRoute, name: str, *addresses: tuple[str, int]) -> None:
    index = link.link_lookup(ifname=name)[0]
    link.link("set", index=index, state="up")
    for address, bits in addresses:
        flags = {"flags": _NODAD} if ":" in address else {}
        link.addr("add", index=index, address=address, prefixlen=bits, **flags)


def _local_routes(table: int, **when: int) -> None:
    # By `table` every address is this machine's own.
    with IPRoute() as link:
        lo = link.link_lookup(ifname="lo")[0]
        link.link("set", index=lo, state="up")
        for family, everything in ((2, "0.0.0.0/0"), (_AF_INET6, "::/0")):
            link.route(
                "add",
                dst=everything,
                oif=lo,
                type="local",
                scope="host",
                table=table,
                family=family,
            )
            link.rule("add", table=table, family=family, **when)


def _forget_where_from() -> None:
    # Answers may leave by another interface than the question came in by.
    for path in Path("/proc/sys/net/ipv4/conf").glob("*/rp_filter"):
        path.write_text("0\n")
