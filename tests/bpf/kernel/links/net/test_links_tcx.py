"""Programs on the packets of an interface: tcx, and filters of clsact."""

import re
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.kernel import Link, LinkId, ProgramId, attach_tcx, features
from beewire.bpf.kernel.links import clsact, detach
from beewire.bpf.kernel.links.info import FilterInfo, InterfaceInfo
from beewire.bpf.kernel.links.interface import interface_index
from beewire.bpf.kernel.links.query import query
from beewire.bpf.kernel.netlink import Route
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError, NotSupported
from tests.netns import enter

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = pytest.mark.kernel

MakeCounter = Callable[..., "Counter"]
RunInside = Callable[[Callable[[], object]], None]
Answers = Callable[[int], int]
Tc = Callable[[int], "Counter"]
Attached = Callable[..., Link]

NEXT, PASS, DROP = -1, 0, 2  # TCX_NEXT, TC_ACT_OK, TC_ACT_SHOT


@pytest.fixture
def needs_tcx() -> None:
    if not features.attach_kind(AttachKind.TCX_INGRESS).available:
        pytest.skip("this kernel has no tcx")


@pytest.fixture
def tc(counter: MakeCounter) -> Tc:
    """A counting program of section "tc" that returns a verdict."""
    return lambda verdict: counter(ProgramKind.SCHED_CLS, None, verdict)


@pytest.fixture
def attached(inside: RunInside) -> Attached:
    """`attach_tcx` in the namespace."""

    def attach(counting: "Counter", *where: object, **options: object) -> Link:
        found: list[Link] = []
        inside(
            lambda: found.append(
                attach_tcx(counting.program, *where, **options)  # type: ignore[arg-type] # passed on
            )
        )
        return found[0]

    return attach


@pytest.fixture
def there(inside: RunInside) -> Callable[[], list[int]]:
    """The ids of the programs at bw-near's ingress in tcx, in their order."""

    def ask() -> list[int]:
        found: list[int] = []

        def run() -> None:
            told = query(_index("bw-near"), AttachKind.TCX_INGRESS)
            assert told is not None
            found.extend(each.id for each in told.programs)

        inside(run)
        return found

    return ask


def _index(name: str) -> int:
    return interface_index(name)


def number(counting: "Counter") -> int:
    return counting.program.info().id


def tc_shows(netns: str, direction: str) -> str:
    return subprocess.run(
        [*enter(netns), "tc", "filter", "show", "dev", "bw-near", direction],
        check=False,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.usefixtures("needs_tcx")
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_packets_are_dropped_while_the_link_is_open(
    tc: Tc, attached: Attached, answers: Answers, direction: str
) -> None:
    drop = tc(DROP)
    before = answers(2)

    with attached(drop, "bw-near", direction) as link:
        during = answers(2)
        kind = link.kind
    after = answers(2)

    assert (before, during, after) == (2, 0, 2)
    assert drop.hits >= 2
    assert kind == "tcx"


@pytest.mark.thorough
@pytest.mark.usefixtures("needs_tcx", "far")
def test_programs_run_in_the_order_that_is_asked_for(
    tc: Tc, attached: Attached, there: Callable[[], list[int]]
) -> None:
    first, second, third, fourth = [tc(NEXT) for _ in range(4)]

    with (
        attached(second, "bw-near", "ingress") as link,
        attached(first, "bw-near", "ingress", before=link),
        attached(fourth, "bw-near", "ingress", after="all"),
        attached(third, "bw-near", "ingress", before=ProgramId(number(fourth))),
    ):
        order = there()

    assert order == [number(each) for each in (first, second, third, fourth)]


@pytest.mark.thorough
@pytest.mark.usefixtures("needs_tcx", "far")
def test_a_neighbour_may_be_a_program_or_a_link_of_another_process(
    tc: Tc, attached: Attached, there: Callable[[], list[int]]
) -> None:
    first, second, third = [tc(NEXT) for _ in range(3)]

    with (
        attached(second, "bw-near", "ingress") as link,
        attached(first, "bw-near", "ingress", before=second.program),
        attached(third, "bw-near", "ingress", after=LinkId(link.info.id)),
    ):
        order = there()

    assert order == [number(each) for each in (first, second, third)]


@pytest.mark.thorough
@pytest.mark.usefixtures("needs_tcx", "far")
def test_a_neighbour_that_is_not_there_is_told(tc: Tc, attached: Attached) -> None:
    count, stranger = tc(NEXT), tc(NEXT)

    with pytest.raises(AttachError, match="come before or after is not attached there"):
        attached(count, "bw-near", "ingress", before=stranger.program)


@pytest.mark.thorough
@pytest.mark.usefixtures("needs_tcx", "far")
def test_a_list_that_changed_since_refuses_its_old_revision(
    tc: Tc, attached: Attached, inside: RunInside
) -> None:
    one, two = tc(NEXT), tc(NEXT)
    revisions: list[int] = []

    def look() -> None:
        found = query(_index("bw-near"), AttachKind.TCX_INGRESS)
        revisions.append(found.revision if found else 0)

    with attached(one, "bw-near", "ingress"):
        inside(look)
        with attached(two, "bw-near", "ingress", revision=revisions[0]):
            pass
        with pytest.raises(AttachError, match="came or went since revision"):
            attached(two, "bw-near", "ingress", revision=revisions[0])


@pytest.mark.thorough
@pytest.mark.usefixtures("needs_tcx")
def test_update_puts_another_program_in_the_place(
    tc: Tc, attached: Attached, answers: Answers
) -> None:
    drop, let = tc(DROP), tc(PASS)

    with attached(drop, "bw-near", "ingress") as link:
        link.update(let.program)
        during = answers(2)

    assert during == 2
    assert (drop.hits, let.hits >= 2) == (0, True)


@pytest.mark.thorough
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_filter_of_clsact_drops_packets_until_it_is_gone(
    tc: Tc, attached: Attached, answers: Answers, netns: str, direction: str
) -> None:
    drop = tc(DROP)

    with attached(drop, "bw-near", direction, as_link=False) as link:
        during, shown = answers(2), tc_shows(netns, direction)
        kind = link.kind
    after, gone = answers(2), tc_shows(netns, direction)

    assert (during, after) == (0, 2)
    assert kind == "clsact"
    assert "direct-action" in shown
    assert gone == ""


@pytest.mark.thorough
@pytest.mark.usefixtures("far")
def test_the_qdisc_goes_with_the_last_filter(
    tc: Tc, attached: Attached, netns: str
) -> None:
    one, two = tc(NEXT), tc(NEXT)

    with attached(one, "bw-near", "ingress", as_link=False):
        with attached(two, "bw-near", "egress", as_link=False):
            pass
        during = qdiscs(netns)

    assert "clsact" in during
    assert "clsact" not in qdiscs(netns)


def qdiscs(netns: str) -> str:
    command = [*enter(netns), "tc", "qdisc", "show", "dev", "bw-near"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.usefixtures("far")
def test_filters_run_by_priority_and_are_told_apart_by_handle(
    tc: Tc, attached: Attached, netns: str
) -> None:
    late, early = tc(PASS), tc(NEXT)
    options = {"as_link": False}

    with (
        attached(late, "bw-near", "ingress", priority=20, handle=7, **options) as one,
        attached(early, "bw-near", "ingress", priority=10, handle=3, **options) as two,
    ):
        found = tc_shows(netns, "ingress")
        infos = one.info, two.info

    assert re.findall(r"pref (\d+) bpf .*handle (0x\w+)", found) == [
        ("10", "0x3"),
        ("20", "0x7"),
    ]
    assert [isinstance(each, FilterInfo) for each in infos] == [True, True]


@pytest.mark.thorough
@pytest.mark.usefixtures("far")
def test_a_taken_priority_and_handle_are_told_with_their_owner(
    tc: Tc, attached: Attached
) -> None:
    one, two = tc(NEXT), tc(NEXT)
    place = ("bw-near", "ingress")

    with (
        attached(one, *place, priority=5, handle=1),
        pytest.raises(AttachError, match=rf"program {number(one)} \(count\) at prio"),
    ):
        attached(two, *place, priority=5, handle=1)


@pytest.mark.thorough
def test_a_filter_is_replaced_without_a_gap(
    tc: Tc, attached: Attached, answers: Answers, netns: str
) -> None:
    drop, let = tc(DROP), tc(PASS)

    with attached(drop, "bw-near", "ingress", as_link=False) as link:
        link.update(let.program)
        during, shown = answers(2), tc_shows(netns, "ingress")

    assert (during, drop.hits) == (2, 0)
    assert shown.count("handle") == 1
    assert tc_shows(netns, "ingress") == ""


@pytest.mark.thorough
@pytest.mark.usefixtures("far")
def test_a_filter_that_another_replaced_stays(
    tc: Tc, attached: Attached, netns: str
) -> None:
    ours, theirs = tc(NEXT), tc(NEXT)
    place = {"priority": 9, "handle": 1}
    link = attached(ours, "bw-near", "ingress", **place)
    link.release()
    other = attached(theirs, "bw-near", "egress", **place)

    other.close()

    assert "pref 9" in tc_shows(netns, "ingress")


@pytest.mark.thorough
@pytest.mark.usefixtures("far")
def test_a_filter_that_was_left_is_found_and_taken_off(
    tc: Tc, attached: Attached, inside: RunInside
) -> None:
    count = tc(NEXT)
    attached(count, "bw-near", "ingress", as_link=False).release()
    found: list[object] = []

    def clean() -> None:
        with Route() as route:
            index, hook = _index("bw-near"), AttachKind.TCX_INGRESS
            found.append([f.program_id for f in clsact.filters(route, index, hook)])
            found.append(detach.clsact("bw-near", "ingress"))
            found.append(clsact.filters(route, index, hook))

    inside(clean)

    assert found == [[number(count)], [number(count)], []]


@pytest.mark.thorough
@pytest.mark.usefixtures("far")
def test_a_filter_is_no_link_to_be_pinned(tc: Tc, attached: Attached) -> None:
    with (
        attached(tc(NEXT), "bw-near", "ingress", as_link=False) as link,
        pytest.raises(NotSupported, match="by clsact it is no link; release"),
    ):
        link.pin("/sys/fs/bpf/bw-none")


@pytest.mark.thorough
@pytest.mark.usefixtures("far")
def test_a_program_without_a_direction_is_told_what_to_give(
    tc: Tc, attached: Attached
) -> None:
    with pytest.raises(AttachError, match='give "ingress" or "egress" as well'):
        attached(tc(NEXT), "bw-near")


@pytest.mark.thorough
@pytest.mark.usefixtures("far")
def test_a_wrong_interface_is_told_with_those_like_it(
    tc: Tc, attached: Attached
) -> None:
    with pytest.raises(AttachError, match=r"'bw-naer' in .*; did you mean 'bw-near'"):
        attached(tc(NEXT), "bw-naer", "ingress")


@pytest.mark.thorough
@pytest.mark.usefixtures("far")
def test_what_knows_its_direction_takes_no_other(
    counter: MakeCounter, attached: Attached
) -> None:
    count = counter(ProgramKind.SCHED_CLS, AttachKind.TCX_EGRESS, NEXT)

    with pytest.raises(AttachError, match="which is not for ingress"):
        attached(count, "bw-near", "ingress")


@pytest.mark.thorough
@pytest.mark.usefixtures("needs_tcx", "far")
def test_info_names_the_interface_of_this_namespace(
    tc: Tc, attached: Attached, inside: RunInside
) -> None:
    infos = []

    with attached(tc(NEXT), "bw-near", "ingress") as link:
        inside(lambda: infos.append(link.info))

    assert isinstance(infos[0], InterfaceInfo)
    assert (infos[0].attach_kind, infos[0].interface) == (
        AttachKind.TCX_INGRESS,
        "bw-near",
    )
