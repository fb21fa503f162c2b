"""Programs of cgroups: their order, the older way, and who is in the way."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.kernel import LinkId, attach_cgroup, features
from beewire.bpf.kernel.links import detach
from beewire.bpf.kernel.links.info import CgroupInfo
from beewire.bpf.kernel.links.query import Attached, query
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError, NotSupported
from tests.cgroups import remove

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = [pytest.mark.kernel, pytest.mark.thorough]

CONNECT = AttachKind.CGROUP_INET4_CONNECT
TRY = """
import socket
with socket.socket() as s:
    try:
        s.connect(("127.0.0.1", 9))
    except OSError as error:
        print(type(error).__name__)
"""
DENIED, REFUSED = "PermissionError", "ConnectionRefusedError"

Make = Callable[[int], "Counter"]
Run = Callable[[str], str]


@pytest.fixture
def on_connect(counter: Callable[..., "Counter"]) -> Make:
    """A counting program of connect4 that returns a verdict."""
    return lambda verdict: counter(ProgramKind.CGROUP_SOCK_ADDR, CONNECT, verdict)


@pytest.fixture
def child(cgroup: str) -> Iterator[str]:
    path = Path(cgroup) / "bw-child"
    path.mkdir()
    yield str(path)
    remove(path)


@pytest.fixture
def needs_order(on_connect: Make, cgroup: str) -> None:
    try:
        attach_cgroup(on_connect(1).program, cgroup, before="all").close()
    except NotSupported as error:
        pytest.skip(f"no order among the programs of a cgroup: {error.since}")


def there(path: str, *, effective: bool = False) -> Attached:
    fd = os.open(path, os.O_RDONLY)
    try:
        found = query(fd, CONNECT, effective=effective)
    finally:
        os.close(fd)
    assert found is not None
    return found


def ids(path: str, *, effective: bool = False) -> list[int]:
    return [each.id for each in there(path, effective=effective).programs]


def number(counting: "Counter") -> int:
    return counting.program.info().id


@pytest.mark.usefixtures("needs_order")
def test_programs_run_in_the_order_that_is_asked_for(
    on_connect: Make, cgroup: str
) -> None:
    first, second, between, third, fourth = [on_connect(1) for _ in range(5)]

    with (
        attach_cgroup(second.program, cgroup) as link,
        attach_cgroup(first.program, cgroup, before=link),
        attach_cgroup(fourth.program, cgroup, after="all") as last,
        attach_cgroup(third.program, cgroup, before=last),
        attach_cgroup(between.program, cgroup, after=LinkId(link.info.id)),
    ):
        found = ids(cgroup)

    assert found == [number(each) for each in (first, second, between, third, fourth)]


@pytest.mark.usefixtures("needs_order")
def test_parents_run_after_their_children_unless_preorder(
    on_connect: Make, cgroup: str, child: str
) -> None:
    above, below, early = [on_connect(1) for _ in range(3)]

    with (
        attach_cgroup(above.program, cgroup),
        attach_cgroup(below.program, child),
        attach_cgroup(early.program, cgroup, preorder=True),
    ):
        effective = ids(child, effective=True)
        own = ids(child)

    assert effective == [number(each) for each in (early, below, above)]
    assert own == [number(below)]


@pytest.mark.usefixtures("needs_order")
def test_a_neighbour_that_is_not_there_is_told(on_connect: Make, cgroup: str) -> None:
    count, stranger = on_connect(1), on_connect(1)

    with pytest.raises(AttachError, match="here a neighbour is a Link or LinkId"):
        attach_cgroup(count.program, cgroup, before=stranger.program)


def test_an_order_that_the_kernel_does_not_keep_is_told(
    on_connect: Make, cgroup: str
) -> None:
    with pytest.raises(NotSupported, match="an order of programs without links"):
        attach_cgroup(on_connect(1).program, cgroup, before="all", as_link=False)


def test_the_older_way_decides_until_it_is_closed(
    on_connect: Make, cgroup: str, run_in_cgroup: Run
) -> None:
    deny, let = on_connect(0), on_connect(1)

    with attach_cgroup(deny.program, cgroup, as_link=False) as link:
        during = run_in_cgroup(TRY)
        info, kind = link.info, link.kind
        link.update(let.program)
        updated, found = run_in_cgroup(TRY), ids(cgroup)
    after = ids(cgroup)

    assert (during, updated) == (DENIED, REFUSED)
    assert kind == "cgroup.attach"
    assert isinstance(info, CgroupInfo)
    assert (info.program_id, info.path) == (number(deny), cgroup)
    assert (found, after) == ([number(let)], [])


def test_both_ways_stand_beside_each_other(on_connect: Make, cgroup: str) -> None:
    one, two = on_connect(1), on_connect(1)

    with (
        attach_cgroup(one.program, cgroup, as_link=False),
        attach_cgroup(two.program, cgroup),
    ):
        found = there(cgroup)

    assert [each.id for each in found.programs] == [number(one), number(two)]
    assert found.flags & 2  # BPF_F_ALLOW_MULTI
    assert str(found.programs[0]) == f"program {number(one)} (count)"


def test_a_child_takes_the_place_of_what_may_be_overridden(
    on_connect: Make, cgroup: str, child: str
) -> None:
    above, below = on_connect(0), on_connect(1)

    with (
        attach_cgroup(above.program, cgroup, override=True),
        attach_cgroup(below.program, child, override=True),
    ):
        found = ids(child, effective=True)

    assert found == [number(below)]


def test_who_lets_none_beside_it_is_named(on_connect: Make, cgroup: str) -> None:
    alone, second = on_connect(1), on_connect(1)

    with (
        attach_cgroup(alone.program, cgroup, override=True),
        pytest.raises(
            AttachError, match=rf"program {number(alone)} \(count\)\); `bpft"
        ),
    ):
        attach_cgroup(second.program, cgroup)


def test_what_was_left_is_taken_off(on_connect: Make, cgroup: str) -> None:
    count = on_connect(1)
    attach_cgroup(count.program, cgroup, as_link=False).release()
    left = ids(cgroup)

    taken = detach.cgroup(cgroup, CONNECT)

    assert (left, taken, ids(cgroup)) == ([number(count)], [number(count)], [])


def test_what_a_link_holds_is_not_taken_off_by_cgroup(
    on_connect: Make, cgroup: str
) -> None:
    with (
        attach_cgroup(on_connect(1).program, cgroup),
        pytest.raises(AttachError, match=r"a link holds program .* ends it"),
    ):
        detach.cgroup(cgroup, CONNECT)


CGROUP_HOOKS = {
    "CGROUP_INET_INGRESS": ProgramKind.CGROUP_SKB,
    "CGROUP_INET_EGRESS": ProgramKind.CGROUP_SKB,
    "CGROUP_INET_SOCK_CREATE": ProgramKind.CGROUP_SOCK,
    "CGROUP_INET_SOCK_RELEASE": ProgramKind.CGROUP_SOCK,
    "CGROUP_INET4_POST_BIND": ProgramKind.CGROUP_SOCK,
    "CGROUP_INET6_POST_BIND": ProgramKind.CGROUP_SOCK,
    "CGROUP_INET4_BIND": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_INET6_BIND": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_INET4_CONNECT": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_INET6_CONNECT": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_UNIX_CONNECT": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_UDP4_SENDMSG": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_UDP6_SENDMSG": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_UNIX_SENDMSG": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_UDP4_RECVMSG": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_UDP6_RECVMSG": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_UNIX_RECVMSG": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_INET4_GETPEERNAME": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_INET6_GETPEERNAME": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_UNIX_GETPEERNAME": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_INET4_GETSOCKNAME": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_INET6_GETSOCKNAME": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_UNIX_GETSOCKNAME": ProgramKind.CGROUP_SOCK_ADDR,
    "CGROUP_GETSOCKOPT": ProgramKind.CGROUP_SOCKOPT,
    "CGROUP_SETSOCKOPT": ProgramKind.CGROUP_SOCKOPT,
    "CGROUP_SYSCTL": ProgramKind.CGROUP_SYSCTL,
    "CGROUP_DEVICE": ProgramKind.CGROUP_DEVICE,
    "CGROUP_SOCK_OPS": ProgramKind.SOCK_OPS,
}
EVERYTHING = """
import os, socket, tempfile
def pair(family, here, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as server, socket.socket(family, kind) as client:
        server.bind(here)
        if kind == socket.SOCK_STREAM:
            server.listen()
            client.connect(server.getsockname())
            client.getpeername()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        else:
            if family == socket.AF_UNIX:
                client.bind(here + "2")
            client.sendto(b"x", server.getsockname())
            server.recvfrom(10)
for family, here in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0))):
    pair(family, here)
    pair(family, here, socket.SOCK_DGRAM)
with tempfile.TemporaryDirectory() as folder:
    pair(socket.AF_UNIX, folder + "/stream")
    pair(socket.AF_UNIX, folder + "/datagram", socket.SOCK_DGRAM)
open("/proc/sys/kernel/hostname").read()
open("/dev/null").close()
"""


@pytest.mark.parametrize("as_link", [True, False])
def test_every_hook_runs_and_ends(
    counter: Callable[..., "Counter"], cgroup: str, run_in_cgroup: Run, as_link: bool
) -> None:
    counts = {
        name: counter(kind, AttachKind[name])
        for name, kind in CGROUP_HOOKS.items()
        if features.attach_kind(AttachKind[name]).available
    }

    with ExitStack() as links:
        for count in counts.values():
            link = attach_cgroup(count.program, cgroup, as_link=as_link)
            links.enter_context(link)
        run_in_cgroup(EVERYTHING)
    during = {name: count.hits for name, count in counts.items()}
    run_in_cgroup(EVERYTHING)

    assert [name for name, hits in during.items() if not hits] == []
    assert {name: count.hits for name, count in counts.items()} == during
