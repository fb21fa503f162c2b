"""Programs of netkit devices, which are made to be programmed."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.kernel import Link, attach_tcx, features
from beewire.bpf.kernel.links.info import InterfaceInfo
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError
from tests.faults import FEW, closing, exists_soon, fail_everywhere

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = pytest.mark.kernel

MakeCounter = Callable[..., "Counter"]
RunInside = Callable[[Callable[[], object]], None]
NEXT, PASS, DROP = -1, 0, 2  # enum netkit_action
ETH_P_IP = 0x0800
# IPv4 from 10.96.0.2 to 10.96.0.1, with nothing in it.
PACKET = bytes.fromhex("45000014000000004000 0000 0a600002 0a600001")


def send() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("10.96.0.2", 9))


def send_from(device: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sock:
        sock.sendto(PACKET, (device, ETH_P_IP))


def hits(count: "Counter", action: Callable[[], object]) -> int:
    """How often the program runs meanwhile."""
    before = count.hits
    action()
    return count.hits - before


def test_a_program_runs_for_what_its_end_sends(
    counter: MakeCounter, inside: RunInside, netkit: tuple[str, str]
) -> None:
    primary, peer = netkit
    count = counter(ProgramKind.SCHED_CLS, AttachKind.NETKIT_PRIMARY, NEXT)
    seen: list[int] = []

    def body() -> None:
        with attach_tcx(count.program, primary) as link:
            seen.append(hits(count, send))
            seen.append(hits(count, lambda: send_from(peer)))
            assert link.kind == "netkit"
        seen.append(hits(count, send))

    inside(body)

    assert seen[0] >= 1
    assert seen[1:] == [0, 0]


def test_a_program_of_the_peer_is_attached_at_the_primary_end(
    counter: MakeCounter, inside: RunInside, netkit: tuple[str, str]
) -> None:
    primary, peer = netkit
    count = counter(ProgramKind.SCHED_CLS, AttachKind.NETKIT_PEER, NEXT)
    seen: list[int] = []

    def body() -> None:
        with attach_tcx(count.program, primary, "peer"):
            seen.append(hits(count, lambda: send_from(peer)))
            seen.append(hits(count, send))

    inside(body)

    assert seen[0] >= 1
    assert seen[1] == 0


def test_programs_are_in_order_and_the_first_verdict_counts(
    counter: MakeCounter, inside: RunInside, netkit: tuple[str, str]
) -> None:
    primary, _ = netkit
    drops = counter(ProgramKind.SCHED_CLS, AttachKind.NETKIT_PRIMARY, DROP)
    first = counter(ProgramKind.SCHED_CLS, AttachKind.NETKIT_PRIMARY, NEXT)
    after = counter(ProgramKind.SCHED_CLS, AttachKind.NETKIT_PRIMARY, PASS)
    links: list[Link] = []
    infos: list[object] = []

    def body() -> None:
        links.append(attach_tcx(drops.program, primary))
        links.append(attach_tcx(first.program, primary, before=links[0]))
        links.append(attach_tcx(after.program, primary, after=links[0]))
        infos.append(links[0].info)
        send()
        for link in links:
            link.close()

    inside(body)

    assert drops.hits >= 1
    assert first.hits == drops.hits
    assert after.hits == 0
    assert isinstance(infos[0], InterfaceInfo)
    assert infos[0].interface == primary


def test_a_link_takes_another_program(
    counter: MakeCounter, inside: RunInside, netkit: tuple[str, str]
) -> None:
    primary, _ = netkit
    old = counter(ProgramKind.SCHED_CLS, AttachKind.NETKIT_PRIMARY, NEXT)
    new = counter(ProgramKind.SCHED_CLS, AttachKind.NETKIT_PRIMARY, NEXT)

    def body() -> None:
        with attach_tcx(old.program, primary) as link:
            link.update(new.program)
            assert hits(old, send) == 0

    inside(body)

    assert new.hits >= 1


def test_the_peer_takes_no_programs_which_is_told(
    counter: MakeCounter, inside: RunInside, netkit: tuple[str, str]
) -> None:
    _, peer = netkit
    count = counter(ProgramKind.SCHED_CLS, AttachKind.NETKIT_PRIMARY, NEXT)

    def body() -> None:
        with pytest.raises(AttachError, match="the primary end"):
            attach_tcx(count.program, peer)

    inside(body)


def test_a_device_that_is_no_netkit_is_told(
    counter: MakeCounter, inside: RunInside, far: str
) -> None:
    del far
    if not features.attach_kind(AttachKind.NETKIT_PRIMARY).available:
        pytest.skip("this kernel has no netkit")
    count = counter(ProgramKind.SCHED_CLS, AttachKind.NETKIT_PEER, NEXT)

    def attach() -> None:
        with pytest.raises(AttachError, match="netkit peer of interface bw-near"):
            attach_tcx(count.program, "bw-near")

    inside(attach)


@pytest.mark.thorough
def test_nothing_is_left_whatever_fails(
    counter: MakeCounter, inside: RunInside, netkit: tuple[str, str]
) -> None:
    primary, _ = netkit
    count = counter(ProgramKind.SCHED_CLS, AttachKind.NETKIT_PRIMARY, NEXT)
    id_ = count.program.info().id

    inside(
        lambda: fail_everywhere(
            closing(lambda: attach_tcx(count.program, primary)), id_, FEW
        )
    )
    count.loaded.close()

    assert not exists_soon(id_)
