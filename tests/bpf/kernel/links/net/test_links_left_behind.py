"""What stays attached when its process is killed: links end, the older ways do not."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from beewire.bpf.kernel import features
from beewire.bpf.kernel.links import clsact, detach
from beewire.bpf.kernel.links.interface import interface_index
from beewire.bpf.kernel.links.query import query
from beewire.bpf.kernel.links.xdp_netlink import xdp_programs
from beewire.bpf.kernel.netlink import Route
from beewire.bpf.object import AttachKind
from tests.netns import enter

pytestmark = pytest.mark.kernel

RunInside = Callable[[Callable[[], object]], None]
CHILD = Path(__file__).with_name("left_behind.py")
CHECKOUT = Path(__file__).parents[5]
CONNECT, INGRESS = AttachKind.CGROUP_INET4_CONNECT, AttachKind.TCX_INGRESS
ROUTE = ("10.97.0.2", "bw-near")


@pytest.fixture
def killed(netns: str, far: str) -> Callable[..., None]:
    """Let a process attach in the namespace, and kill it while it is attached."""
    del far

    def run(way: str, *more: str, fds: tuple[int, ...] = ()) -> None:
        child = subprocess.Popen(
            [*enter(netns), sys.executable, str(CHILD), way, *more],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            pass_fds=fds,
        )
        assert child.stdout is not None
        with child, child.stdout as output:
            assert output.readline() == b"ready\n"
            os.kill(child.pid, signal.SIGKILL)

    return run


@pytest.fixture
def count(inside: RunInside, netns: str) -> Callable[[str], int]:
    """How many programs there are in the namespace at a place."""
    places: dict[str, Callable[[], int]] = {
        "xdp": lambda: len(xdp_programs(interface_index("bw-near"))),
        "tcx": lambda: at(interface_index("bw-near"), INGRESS),
        "clsact": filters,
        "sk_lookup": lambda: of_netns(AttachKind.SK_LOOKUP),
        "flow_dissector": lambda: of_netns(AttachKind.FLOW_DISSECTOR),
        "route": lambda: int("encap bpf" in routes(netns)),
    }

    def run(place: str) -> int:
        found: list[int] = []
        inside(lambda: found.append(places[place]()))
        return found[0]

    return run


def at(target: int, hook: AttachKind) -> int:
    found = query(target, hook)
    return len(found.programs) if found else 0


def of_netns(hook: AttachKind) -> int:
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        return at(fd, hook)
    finally:
        os.close(fd)


def of_cgroup(path: str) -> int:
    fd = os.open(path, os.O_RDONLY)
    try:
        return at(fd, CONNECT)
    finally:
        os.close(fd)


def filters() -> int:
    with Route() as route:
        return len(clsact.filters(route, interface_index("bw-near"), INGRESS))


def routes(netns: str) -> str:
    command = [*enter(netns), "ip", "route", "show"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def becomes_zero(ask: Callable[[], int]) -> bool:
    """Whether nothing is there in the end: the kernel frees a moment after the death."""
    end = time.monotonic() + 60
    while ask() and time.monotonic() < end:
        time.sleep(0.02)
    return ask() == 0


@pytest.mark.parametrize(
    ("way", "place", "hook"),
    [
        ("xdp", "xdp", AttachKind.XDP),
        ("xdp chain", "xdp", AttachKind.XDP),
        ("tcx", "tcx", AttachKind.TCX_INGRESS),
        ("netns sk_lookup", "sk_lookup", AttachKind.SK_LOOKUP),
        ("netns flow_dissector", "flow_dissector", AttachKind.FLOW_DISSECTOR),
    ],
)
def test_links_end_with_their_process(
    killed: Callable[..., None],
    count: Callable[[str], int],
    way: str,
    place: str,
    hook: AttachKind,
) -> None:
    if not features.attach_kind(hook).available:
        pytest.skip(f"this kernel has no links of {hook.name}")

    killed(way)

    assert becomes_zero(lambda: count(place))


def test_links_of_cgroups_end_with_their_process(
    killed: Callable[..., None], cgroup: str
) -> None:
    killed("cgroup", cgroup)

    assert becomes_zero(lambda: of_cgroup(cgroup))


def test_links_of_netfilter_end_with_their_process(
    killed: Callable[..., None],
) -> None:
    if not features.attach_kind(AttachKind.NETFILTER).available:
        pytest.skip("this kernel has no links of netfilter")

    # The priority is free again: it is one program's at a time.
    killed("netfilter")
    killed("netfilter")


@pytest.mark.parametrize(
    ("way", "place", "clean"),
    [
        ("xdp.netlink", "xdp", lambda: detach.xdp("bw-near")),
        ("clsact", "clsact", lambda: detach.clsact("bw-near", "ingress")),
        ("netns.attach", "flow_dissector", detach.flow_dissector),
        ("lwt", "route", lambda: detach.route(*ROUTE, via="10.98.0.2")),
    ],
)
def test_the_older_ways_stay_and_are_taken_off(
    killed: Callable[..., None],
    count: Callable[[str], int],
    inside: RunInside,
    way: str,
    place: str,
    clean: Callable[[], object],
) -> None:
    killed(way)
    left = count(place)

    inside(clean)

    assert left == 1
    assert count(place) == 0


def test_what_a_cgroup_holds_stays_and_is_taken_off(
    killed: Callable[..., None], cgroup: str
) -> None:
    killed("cgroup.attach", cgroup)
    left = of_cgroup(cgroup)

    detach.cgroup(cgroup, CONNECT)

    assert (left, of_cgroup(cgroup)) == (1, 0)


@pytest.mark.parametrize("way", ["socket_filter", "sk_reuseport"])
def test_what_a_socket_holds_stays_with_the_socket(
    killed: Callable[..., None], way: str
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.3)
        killed(way, str(sock.fileno()), fds=(sock.fileno(),))

        sock.sendto(b"x", sock.getsockname())
        with pytest.raises(TimeoutError):
            sock.recv(10)
        detach.socket(sock)
        sock.sendto(b"y", sock.getsockname())
        told = sock.recv(10)

    assert told == b"y"
