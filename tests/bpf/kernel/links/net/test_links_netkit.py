"""Programs of netkit devices, which are made to be programmed."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.kernel import Link, attach_tcx, features
from beewire.bpf.object import AttachKind, ProgramKind
from tests.netns import ip

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = pytest.mark.kernel

NEXT = -1  # NETKIT_NEXT


@pytest.fixture
def netkit(netns: str) -> str:
    """One end of a pair of netkit devices in `netns`, with packets to send; both up."""
    if not features.attach_kind(AttachKind.NETKIT_PRIMARY).available:
        pytest.skip("this kernel has no netkit")
    pyroute2 = pytest.importorskip("pyroute2")
    with pyroute2.NetNS(netns) as routes:
        routes.link("add", ifname="bw-nk", kind="netkit")
        for link in routes.get_links():
            routes.link("set", index=link["index"], state="up")
    ip("addr", "add", "10.97.0.1/24", "dev", "bw-nk", netns=netns)
    return "bw-nk"


def test_a_program_sees_what_leaves_its_device(
    counter: "Callable[..., Counter]",
    netkit: str,
    inside: Callable[[Callable[[], object]], None],
) -> None:
    count = counter(ProgramKind.SCHED_CLS, AttachKind.NETKIT_PRIMARY, NEXT)
    links: list[Link] = []
    seen: list[int] = []

    def send() -> None:
        links.append(attach_tcx(count.program, netkit, "primary"))
        with links[0], socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            before = count.hits
            end.sendto(b"a", ("10.97.0.2", 9))
            seen.append(count.hits - before)

    inside(send)

    assert links[0].kind == "netkit"
    assert seen[0] >= 1
