"""XDP: where it runs, who is in the way, the older way, and what it takes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.kernel import Link, XdpMode, attach_xdp
from beewire.bpf.kernel.links import detach
from beewire.bpf.kernel.links.info import XdpInfo
from beewire.bpf.kernel.links.interface import interface_index
from beewire.bpf.kernel.links.xdp_netlink import xdp_programs
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError
from tests.netns import ip

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = [pytest.mark.kernel, pytest.mark.thorough]

RunInside = Callable[[Callable[[], object]], None]
Answers = Callable[[int], int]
Xdp = Callable[[int], "Counter"]
Attached = Callable[..., Link]

DROP, PASS = 1, 2


@pytest.fixture
def xdp(counter: Callable[..., "Counter"]) -> Xdp:
    """A counting program that returns a verdict."""
    return lambda verdict: counter(ProgramKind.XDP, AttachKind.XDP, verdict)


@pytest.fixture
def attached(inside: RunInside) -> Attached:
    """`attach_xdp` to bw-near, in its namespace."""

    def attach(counting: "Counter", *where: object, **options: object) -> Link:
        found: list[Link] = []
        inside(
            lambda: found.append(
                attach_xdp(counting.program, "bw-near", *where, **options)  # type: ignore[arg-type] # passed on
            )
        )
        return found[0]

    return attach


@pytest.fixture
def there(inside: RunInside) -> Callable[[], list[tuple[int, str]]]:
    """The programs on bw-near and their modes."""

    def ask() -> list[tuple[int, str]]:
        found: list[tuple[int, str]] = []
        inside(lambda: found.extend(xdp_programs(interface_index("bw-near"))))
        return found

    return ask


def number(counting: "Counter") -> int:
    return counting.program.info().id


@pytest.mark.parametrize("as_link", [True, False])
@pytest.mark.parametrize(
    ("mode", "name"),
    [
        (XdpMode.AUTO, "native"),
        (XdpMode.NATIVE, "native"),
        (XdpMode.GENERIC, "generic"),
    ],
)
def test_packets_are_dropped_in_every_mode_which_is_told(  # noqa: PLR0917 - fixtures
    xdp: Xdp,
    attached: Attached,
    inside: RunInside,
    answers: Answers,
    mode: XdpMode,
    name: str,
    as_link: bool,
) -> None:
    drop, infos = xdp(DROP), []
    before = answers(1)

    with attached(drop, mode, as_link=as_link) as link:
        during = answers(2)
        inside(lambda: infos.append(link.info))
        kind = link.kind
    after = answers(1)

    assert (before, during, after) == (1, 0, 1)
    assert kind == ("xdp" if as_link else "xdp.netlink")
    assert isinstance(infos[0], XdpInfo)
    assert (infos[0].interface, infos[0].mode) == ("bw-near", name)


@pytest.mark.parametrize("as_link", [True, False])
def test_update_puts_another_program_in_the_place(
    xdp: Xdp, attached: Attached, answers: Answers, as_link: bool
) -> None:
    drop, let = xdp(DROP), xdp(PASS)

    with attached(drop, as_link=as_link) as link:
        link.update(let.program)
        during = answers(2)

    assert during == 2
    assert let.hits >= 2


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("first_as_link", [True, False])
@pytest.mark.parametrize("second_as_link", [True, False])
def test_a_program_in_the_way_is_named(
    xdp: Xdp, attached: Attached, first_as_link: bool, second_as_link: bool
) -> None:
    one, two = xdp(PASS), xdp(PASS)

    with (
        attached(one, as_link=first_as_link),
        pytest.raises(
            AttachError, match=rf"program {number(one)} \(count\) \(native\)"
        ),
    ):
        attached(two, as_link=second_as_link)


@pytest.mark.usefixtures("far")
def test_the_older_way_takes_off_its_own_program_only(
    xdp: Xdp, attached: Attached, there: Callable[[], list[tuple[int, str]]]
) -> None:
    ours, theirs = xdp(PASS), xdp(PASS)
    link = attached(ours, as_link=False)
    link.update(theirs.program)

    during = there()
    link.close()

    assert during == [(number(theirs), "native")]
    assert there() == []


@pytest.mark.usefixtures("far")
def test_what_was_left_is_taken_off(
    xdp: Xdp,
    attached: Attached,
    inside: RunInside,
    there: Callable[[], list[tuple[int, str]]],
) -> None:
    count, taken = xdp(PASS), []
    attached(count, as_link=False).release()
    left = there()

    inside(lambda: taken.extend(detach.xdp("bw-near")))

    assert left == [(number(count), "native")]
    assert taken == [number(count)]
    assert there() == []


@pytest.mark.usefixtures("far")
def test_what_a_link_holds_is_not_taken_off_by_interface(
    xdp: Xdp, attached: Attached, inside: RunInside
) -> None:
    def take() -> None:
        with pytest.raises(AttachError, match="a link holds it; `beewire links`"):
            detach.xdp("bw-near")

    with attached(xdp(PASS)) as link:
        inside(take)
        detach.link(link.info.id)
        info = link.info

    assert isinstance(info, XdpInfo)
    assert info.ifindex == 0


def test_packets_that_are_too_long_for_the_driver_are_told(
    xdp: Xdp, attached: Attached, netns: str, far: str
) -> None:
    for place, device in ((netns, "bw-near"), (far, "bw-far")):
        ip("link", "set", device, "mtu", "9000", netns=place)

    with pytest.raises(AttachError) as caught:
        attached(xdp(PASS), XdpMode.NATIVE)

    message = str(caught.value)
    assert "packets may be 9000 bytes long (its MTU)" in message
    assert "XdpMode.GENERIC" in message


@pytest.mark.usefixtures("far")
def test_a_card_that_takes_no_programs_is_told(xdp: Xdp, attached: Attached) -> None:
    with pytest.raises(AttachError, match=r"XdpMode\.NATIVE runs in the driver"):
        attached(xdp(PASS), XdpMode.OFFLOADED)
