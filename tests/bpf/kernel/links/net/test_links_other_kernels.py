"""Links that this machine's kernel may lack: netkit devices, LSM hooks of cgroups."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.kernel import Link, attach_cgroup, attach_tcx, features, netlink
from beewire.bpf.kernel.links.info import CgroupInfo, InterfaceInfo
from beewire.bpf.kernel.netlink import IFINFO, Route
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError, KernelError
from tests.netns import ip

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = pytest.mark.kernel

RunInside = Callable[[Callable[[], object]], None]
_IFNAME, _LINKINFO, _INFO_KIND = 3, 18, 1
NEXT, DROP = -1, 2


@pytest.fixture
def netkit(netns: str, inside: RunInside) -> str:
    """The primary end of a netkit pair; both ends are up."""
    if not features.attach_kind(AttachKind.NETKIT_PRIMARY).available:
        pytest.skip("this kernel has no netkit")
    peers: list[str] = []

    def make() -> None:
        before = set(netlink.interface_names())
        kind = netlink.nested(_LINKINFO, netlink.text(_INFO_KIND, "netkit"))
        body = IFINFO.pack(0, 0, 0, 0, 0) + netlink.text(_IFNAME, "bw-nk") + kind
        with Route() as route:
            flags = netlink.CREATE | netlink.EXCLUSIVE
            route.change(netlink.NEWLINK, body, "make a netkit pair", flags=flags)
        peers.extend(set(netlink.interface_names()) - before - {"bw-nk"})

    try:
        inside(make)
    except KernelError:
        pytest.skip("this kernel has no netkit devices")
    for device in ("bw-nk", *peers):
        ip("link", "set", device, "up", netns=netns)
    ip("addr", "add", "10.96.0.1/24", "dev", "bw-nk", netns=netns)
    return "bw-nk"


def send() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("10.96.0.2", 9))


def test_a_netkit_program_runs_for_what_its_end_sends(
    counter: Callable[..., "Counter"], inside: RunInside, netkit: str
) -> None:
    count = counter(ProgramKind.SCHED_CLS, AttachKind.NETKIT_PRIMARY, DROP)
    other = counter(ProgramKind.SCHED_CLS, AttachKind.NETKIT_PRIMARY, NEXT)
    links: list[Link] = []
    infos: list[object] = []

    inside(lambda: links.append(attach_tcx(count.program, netkit)))
    inside(lambda: links.append(attach_tcx(other.program, netkit, before=links[0])))
    inside(lambda: infos.append(links[0].info))
    inside(send)
    for link in links:
        link.close()

    assert count.hits >= 1
    assert other.hits >= 1
    assert links[0].kind == "netkit"
    assert isinstance(infos[0], InterfaceInfo)
    assert infos[0].interface == netkit


def test_a_device_that_is_no_netkit_is_told(
    counter: Callable[..., "Counter"], inside: RunInside, far: str
) -> None:
    del far
    if not features.attach_kind(AttachKind.NETKIT_PRIMARY).available:
        pytest.skip("this kernel has no netkit")
    count = counter(ProgramKind.SCHED_CLS, AttachKind.NETKIT_PEER, NEXT)

    def attach() -> None:
        with pytest.raises(AttachError, match="netkit peer of interface bw-near"):
            attach_tcx(count.program, "bw-near")

    inside(attach)


BIND = """
import socket
with socket.socket() as s:
    try:
        s.bind(("127.0.0.1", 0))
    except OSError as error:
        print(type(error).__name__)
"""


def test_an_lsm_program_decides_for_its_cgroup(
    counter: Callable[..., "Counter"],
    cgroup: str,
    run_in_cgroup: Callable[[str], str],
) -> None:
    if not features.attach_kind(AttachKind.LSM_CGROUP).available:
        pytest.skip("this kernel has no LSM hooks of cgroups")
    deny = counter(ProgramKind.LSM, AttachKind.LSM_CGROUP, 0, attach_to="socket_bind")

    with attach_cgroup(deny.program, cgroup) as link:
        during, info = run_in_cgroup(BIND), link.info
    after = run_in_cgroup(BIND)

    assert (during, after) == ("PermissionError", "")
    assert deny.hits == 1
    assert isinstance(info, CgroupInfo)
    assert info.attach_kind is AttachKind.LSM_CGROUP
