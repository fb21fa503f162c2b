"""Every step of attaching fails once: the kinds that the older kernels have, and probes."""

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.kernel import Link, tracefs
from beewire.bpf.kernel.links.cgroup import attach_cgroup
from beewire.bpf.kernel.links.lwt import attach_route
from beewire.bpf.kernel.links.multi import attach_uprobe_multi
from beewire.bpf.kernel.links.netfilter import attach_netfilter
from beewire.bpf.kernel.links.netns import attach_netns
from beewire.bpf.kernel.links.socket import attach_reuseport, attach_socket_filter
from beewire.bpf.kernel.links.tcx import attach_tcx
from beewire.bpf.kernel.links.uprobe import attach_uprobe
from beewire.bpf.kernel.links.xdp import attach_xdp
from beewire.bpf.object import AttachKind, ProgramKind
from tests.faults import FEW, closing, exists_soon, fail_everywhere

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = [pytest.mark.kernel, pytest.mark.host]

MakeCounter = Callable[..., "Counter"]
RunInside = Callable[[Callable[[], object]], None]

# What the end of an attachment without a link takes; where it is refused, it is told.
TAKING_OFF = "PROG_DETACH"


def check(
    count: "Counter", attach: Callable[[], Link], errnos: tuple[int, ...] = FEW
) -> None:
    """Nothing holds the program once all of its failing attachments are over."""
    id_ = count.program.info().id
    fail_everywhere(closing(attach), id_, errnos, spared=TAKING_OFF)
    count.loaded.close()
    assert not exists_soon(id_)


def test_cgroups_by_the_older_way(counter: MakeCounter, cgroup: str) -> None:
    count = counter(ProgramKind.CGROUP_SOCK_ADDR, AttachKind.CGROUP_INET4_CONNECT)

    check(count, lambda: attach_cgroup(count.program, cgroup, as_link=False))


def test_interfaces_by_the_older_ways(
    counter: MakeCounter, inside: RunInside, veth: str
) -> None:
    xdp = counter(ProgramKind.XDP, AttachKind.XDP, verdict=2)
    filters = counter(ProgramKind.SCHED_CLS, AttachKind.TCX_INGRESS, verdict=0)

    def body() -> None:
        check(xdp, lambda: attach_xdp(xdp.program, veth, as_link=False))
        check(filters, lambda: attach_tcx(filters.program, veth, as_link=False))

    inside(body)


def test_netfilter_routes_and_dissectors(
    counter: MakeCounter, inside: RunInside, veth: str
) -> None:
    hooks = counter(ProgramKind.NETFILTER, AttachKind.NETFILTER)
    routes = counter(ProgramKind.LWT_XMIT, verdict=0)
    dissects = counter(ProgramKind.FLOW_DISSECTOR, AttachKind.FLOW_DISSECTOR, 0)

    def body() -> None:
        check(hooks, lambda: attach_netfilter(hooks.program, "input"))
        check(routes, lambda: attach_route(routes.program, "10.98.0.0/16", veth))
        check(dissects, lambda: attach_netns(dissects.program, as_link=False))

    inside(body)


def test_sockets(counter: MakeCounter) -> None:
    filters = counter(ProgramKind.SOCKET_FILTER, verdict=0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        check(filters, lambda: attach_socket_filter(filters.program, sock))


def test_groups_of_sockets(counter: MakeCounter) -> None:
    chooses = counter(ProgramKind.SK_REUSEPORT, verdict=1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        check(chooses, lambda: attach_reuseport(chooses.program, sock))


@pytest.mark.parametrize("way", ["", "ioctl", "tracefs"])
def test_probes_in_processes(counter: MakeCounter, way: str) -> None:
    count = counter(ProgramKind.KPROBE, verdict=0)
    here = os.getpid()

    check(
        count,
        lambda: attach_uprobe(count.program, "libc", "getppid", pid=here, way=way),
    )

    # Where the end itself failed, the probe stays, which its error says.
    with tracefs.open_tracefs("clean up") as root:
        for line in tracefs.read(root, "uprobe_events").decode().split("\n"):
            name = line.partition(" ")[0].removeprefix("p:")
            if f"bw_{here}_" in name:
                tracefs.append(root, "uprobe_events", f"-:{name}")


def test_many_probes_at_once(counter: MakeCounter) -> None:
    count = counter(ProgramKind.KPROBE, AttachKind.TRACE_UPROBE_MULTI, verdict=0)
    names = ["getppid", "getpgid"]

    check(
        count,
        lambda: attach_uprobe_multi(count.program, "libc", names, pid=os.getpid()),
    )
