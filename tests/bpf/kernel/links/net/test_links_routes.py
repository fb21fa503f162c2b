"""Programs on routes, at netfilter's hooks and in network namespaces: real packets."""

import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.kernel import (
    Link,
    attach_netfilter,
    attach_netns,
    attach_route,
    features,
)
from beewire.bpf.kernel.links import detach
from beewire.bpf.kernel.links.info import NetfilterInfo, NetnsInfo, RouteInfo
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError
from tests.netns import enter, ip

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = [pytest.mark.kernel, pytest.mark.thorough]

Make = Callable[..., "Counter"]
RunInside = Callable[[Callable[[], object]], None]
OK, DROP = 0, 2  # BPF_OK, BPF_DROP
AWAY = "10.97.0.2"


@pytest.fixture
def away(far: str) -> str:
    """An address of the other end that only a route of the test leads to."""
    ip("addr", "add", f"{AWAY}/32", "dev", "bw-far", netns=far)
    return AWAY


@pytest.fixture
def made(inside: RunInside) -> Callable[..., Link]:
    """What a function of this room gives, called in the namespace."""

    def make(function: Callable[..., Link], *where: object, **options: object) -> Link:
        found: list[Link] = []
        inside(lambda: found.append(function(*where, **options)))
        return found[0]

    return make


def routes(netns: str) -> str:
    command = [*enter(netns), "ip", "route", "show", AWAY]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("kind", "hook"),
    [(ProgramKind.LWT_OUT, "out"), (ProgramKind.LWT_XMIT, "xmit")],
)
def test_packets_of_a_route_are_dropped(  # noqa: PLR0917 - fixtures
    counter: Make,
    made: Callable[..., Link],
    answers: Callable[..., int],
    netns: str,
    away: str,
    kind: ProgramKind,
    hook: str,
) -> None:
    drop, let = counter(kind, None, DROP), counter(kind, None, OK)

    with made(attach_route, drop.program, away, "bw-near", via="10.98.0.2") as link:
        during, shown, info = answers(2, away), routes(netns), link.info
        link.update(let.program)
        updated = answers(2, away)
    after = routes(netns)

    assert (during, updated, after, drop.hits, let.hits) == (0, 2, "", 2, 2)
    assert (drop.hits, let.hits) == (2, 2)
    assert f"encap bpf {hook}" in shown
    assert link.kind == "lwt"
    assert isinstance(info, RouteInfo)
    assert (info.hook, info.destination) == (hook, f"{away}/32")


def test_what_arrives_by_a_route_is_dropped(
    counter: Make,
    made: Callable[..., Link],
    answers: Callable[..., int],
    netns: str,
    far: str,
) -> None:
    # Answers go through the other end's stack to 10.97.0.9, which is its own address.
    drop = counter(ProgramKind.LWT_IN, None, DROP)
    del netns, far

    with made(attach_route, drop.program, "10.97.1.0/24", "bw-near") as link:
        reached = answers(1)
        info = link.info

    assert reached == 1
    assert isinstance(info, RouteInfo)
    assert info.hook == "in"


def test_a_route_that_is_there_is_told(
    counter: Make, made: Callable[..., Link], netns: str, away: str
) -> None:
    ip("route", "add", away, "via", "10.98.0.2", netns=netns)

    with pytest.raises(AttachError, match=r"there is a route to 10.97.0.2/32 in table"):
        made(
            attach_route,
            counter(ProgramKind.LWT_OUT, None, OK).program,
            away,
            "bw-near",
            via="10.98.0.2",
        )


def test_a_route_that_was_left_is_taken_away(
    counter: Make, made: Callable[..., Link], inside: RunInside, netns: str, away: str
) -> None:
    count = counter(ProgramKind.LWT_OUT, None, OK)
    made(attach_route, count.program, away, "bw-near", via="10.98.0.2").release()
    left = routes(netns)

    inside(lambda: detach.route(away, "bw-near", via="10.98.0.2"))

    assert "encap bpf" in left
    assert routes(netns) == ""


@pytest.mark.usefixtures("far")
def test_a_segment_routing_program_is_on_its_route(
    counter: Make, made: Callable[..., Link], netns: str
) -> None:
    count = counter(ProgramKind.LWT_SEG6LOCAL, None, OK)
    command = [*enter(netns), "ip", "-6", "route", "show", "fd97::1"]

    with made(attach_route, count.program, "fd97::1/128", "bw-near") as link:
        shown = subprocess.run(command, check=True, capture_output=True, text=True)
        info = link.info

    assert "action End.BPF" in shown.stdout
    assert isinstance(info, RouteInfo)
    assert info.hook == "seg6local"


@pytest.fixture
def needs_netfilter() -> None:
    if not features.attach_kind(AttachKind.NETFILTER).available:
        pytest.skip("this kernel has no links of netfilter")


@pytest.mark.usefixtures("needs_netfilter", "far")
@pytest.mark.parametrize(
    ("hook", "runs"),
    [
        ("prerouting", True),
        ("input", True),
        ("forward", False),
        ("output", True),
        ("postrouting", True),
    ],
)
def test_each_hook_of_netfilter_drops_its_packets(
    counter: Make,
    made: Callable[..., Link],
    answers: Callable[..., int],
    hook: str,
    runs: bool,
) -> None:
    drop = counter(ProgramKind.NETFILTER, AttachKind.NETFILTER, 0)

    with made(attach_netfilter, drop.program, hook, priority=-7) as link:
        during, info = answers(1) if runs else 0, link.info
    after = answers(1)

    assert (during, after) == (0, 1)
    assert (drop.hits > 0) == runs
    assert isinstance(info, NetfilterInfo)
    assert (info.version, info.hook, info.priority) == (4, hook, -7)
    assert not info.defragment


@pytest.mark.usefixtures("needs_netfilter", "far")
def test_fragments_are_put_together_for_those_who_ask(
    counter: Make, made: Callable[..., Link]
) -> None:
    count = counter(ProgramKind.NETFILTER, AttachKind.NETFILTER, 1)

    with made(
        attach_netfilter, count.program, "prerouting", priority=1, defragment=True
    ) as link:
        info = link.info

    assert isinstance(info, NetfilterInfo)
    assert info.defragment


@pytest.mark.usefixtures("needs_netfilter")
def test_a_priority_that_is_taken_is_told(
    counter: Make, made: Callable[..., Link]
) -> None:
    one = counter(ProgramKind.NETFILTER, AttachKind.NETFILTER, 1)
    two = counter(ProgramKind.NETFILTER, AttachKind.NETFILTER, 1)

    with (
        made(attach_netfilter, one.program, "input", priority=3),
        pytest.raises(AttachError, match="another program has priority 3 there"),
    ):
        made(attach_netfilter, two.program, "input", priority=3)


@pytest.mark.parametrize(
    ("hook", "options", "told"),
    [
        ("inptu", {}, "the hooks are prerouting, input"),
        ("input", {"version": 5}, "is that of IP, 4 or 6"),
        ("input", {"priority": -(1 << 31)}, "the least and the greatest are the kern"),
        ("input", {"priority": -500, "defragment": True}, "comes after that, not at"),
    ],
)
def test_what_netfilter_has_not_is_told(
    counter: Make, hook: str, options: dict[str, int], told: str
) -> None:
    count = counter(ProgramKind.XDP)

    with pytest.raises(AttachError, match=told):
        attach_netfilter(count.program, hook, **options)  # type: ignore[arg-type] # as given


def told(link: Link) -> NetnsInfo:
    info = link.info
    assert isinstance(info, NetnsInfo)
    return info


@pytest.mark.parametrize("as_link", [True, False])
def test_a_namespace_takes_one_flow_dissector(
    counter: Make,
    made: Callable[..., Link],
    inside: RunInside,
    netns: str,
    as_link: bool,
) -> None:
    kind = (ProgramKind.FLOW_DISSECTOR, AttachKind.FLOW_DISSECTOR, OK)
    one, two = counter(*kind), counter(*kind)
    infos: list[NetnsInfo] = []
    number = one.program.info().id

    link = made(attach_netns, one.program, as_link=as_link)
    infos.append(told(link))
    with pytest.raises(
        AttachError, match=rf"another is here: program {number} \(count"
    ):
        made(attach_netns, two.program)
    inside(lambda: link.update(two.program))
    infos.append(told(link))
    inside(link.close)
    made(attach_netns, one.program).close()

    assert [each.program_id for each in infos] == [number, two.program.info().id]
    assert infos[0].name == f"netns {netns}"
    assert link.kind == ("netns" if as_link else "netns.attach")


def test_a_dissector_that_was_left_is_taken_off(
    counter: Make, made: Callable[..., Link], inside: RunInside
) -> None:
    kind = (ProgramKind.FLOW_DISSECTOR, AttachKind.FLOW_DISSECTOR, OK)
    count, taken = counter(*kind), []
    made(attach_netns, count.program, as_link=False).release()

    inside(lambda: taken.extend(detach.flow_dissector()))

    assert taken == [count.program.info().id]
