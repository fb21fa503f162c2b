"""Programs in Python on real packets: each decorator attaches, and the others with it."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from beewire.bpf import (
    Array,
    Program,
    ReusePortSockArray,
    SkBuff,
    SkReuseport,
    SocketFilter,
    XdpAction,
    XdpChain,
    XdpContext,
    load,
    lwt_xmit,
    sk_reuseport,
    socket_filter,
    tc,
    tcx_ingress,
    u64,
    xdp,
)
from beewire.bpf.kernel import features
from beewire.bpf.object import AttachKind

pytestmark = pytest.mark.kernel

RunInside = Callable[[Callable[[], object]], None]
Answers = Callable[..., int]

seen = Array[u64](max_entries=4)
group = ReusePortSockArray(max_entries=2)
FIRST, SECOND, THIRD = 0, 1, 2


@tc
def shot(ctx: SkBuff) -> int:
    """TC_ACT_SHOT for pings, TC_ACT_UNSPEC for the rest."""
    eth_length = 14
    if ctx.protocol == 0x0008 and ctx.length > eth_length:
        seen[FIRST] += 1
        return 2
    return -1


@tcx_ingress
def counted(ctx: SkBuff) -> None:
    seen[SECOND] += ctx.length * 0 + 1


@xdp
def counts(ctx: XdpContext) -> None:
    seen[FIRST] += ctx.length * 0 + 1


@xdp
def drops(ctx: XdpContext) -> int:
    seen[SECOND] += 1
    if ctx.length > 0:
        return XdpAction.DROP
    return XdpAction.PASS


@socket_filter
def short(ctx: SocketFilter) -> int:
    """Lets the UDP header and two bytes of what it carries through."""
    if ctx.length > 100:
        return 0
    return 10


@sk_reuseport
def second(ctx: SkReuseport) -> int:
    """The second socket of the group gets all."""
    if group.select(ctx, 1) != 0:
        return 0
    return 1


@lwt_xmit
def stopped(ctx: SkBuff) -> int:
    seen[THIRD] += 1
    if ctx.length > 0:
        return 2  # BPF_DROP
    return 0


@pytest.fixture
def loaded() -> Iterator[Any]:
    """All of them, with maps of their own."""
    programs: list[Program[Any]] = [
        shot,
        counted,
        counts,
        drops,
        short,
        second,
        stopped,
    ]
    with load(programs) as made:
        yield made


@pytest.fixture
def entered(inside: RunInside) -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """What a function gives in the namespace; links are closed at the end."""
    with ExitStack() as stack:

        def run(action: Callable[[], Any]) -> Any:
            found: list[Any] = []
            inside(lambda: found.append(action()))
            if hasattr(found[0], "__exit__"):
                stack.enter_context(found[0])
            return found[0]

        yield run


@pytest.mark.parametrize("as_link", [True, False])
def test_tc(loaded: Any, entered: Any, answers: Answers, as_link: bool) -> None:
    link = entered(lambda: loaded[shot].attach("bw-near", "ingress", as_link=as_link))
    during = answers(2)
    link.close()

    assert (during, answers(1)) == (0, 1)
    assert loaded[seen][FIRST] == 2


def test_a_neighbour_is_a_program_of_python_too(
    loaded: Any, entered: Any, answers: Answers
) -> None:
    if not features.attach_kind(AttachKind.TCX_INGRESS).available:
        pytest.skip("this kernel has no tcx")
    entered(lambda: loaded[shot].attach("bw-near", "ingress"))
    entered(lambda: loaded[counted].attach("bw-near", before=loaded[shot]))

    answers(2)

    assert loaded[seen][SECOND] >= 2
    assert loaded[seen][FIRST] == 2


def test_xdp_chain(loaded: Any, entered: Any, answers: Answers) -> None:
    chain = entered(lambda: XdpChain("bw-near"))
    entered(lambda: chain.add(loaded[drops], priority=20))
    member = chain.add(loaded[counts], priority=10)
    during, counted_then = answers(2), loaded[seen][FIRST]
    member.close()
    answers(1)

    assert during == 0
    assert counted_then >= 2
    assert loaded[seen][FIRST] == counted_then
    assert loaded[seen][SECOND] > counted_then
    assert chain.order == ("drops",)


def test_lwt_xmit(loaded: Any, entered: Any, answers: Answers) -> None:
    link = entered(
        lambda: loaded[stopped].attach("10.97.0.2", "bw-near", via="10.98.0.2")
    )

    during = answers(2, "10.97.0.2")

    assert (during, loaded[seen][THIRD]) == (0, 2)
    assert link.info.destination == "10.97.0.2/32"


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.settimeout(30)
    return sock


def test_socket_filter(loaded: Any) -> None:
    with udp() as sock:
        sock.bind(("127.0.0.1", 0))
        with loaded[short].attach(sock):
            sock.sendto(b"hello", sock.getsockname())
            cut = sock.recv(10)
        sock.sendto(b"hello", sock.getsockname())
        whole = sock.recv(10)

    assert (cut, whole) == (b"he", b"hello")


def test_sk_reuseport_chooses_from_its_array(loaded: Any) -> None:
    with udp() as one, udp() as two, udp() as sender:
        one.bind(("127.0.0.1", 0))
        two.bind(one.getsockname())
        loaded[group][0], loaded[group][1] = one, two
        with loaded[second].attach(one):
            for number in range(8):
                sender.sendto(bytes([number]), one.getsockname())
            found = [two.recv(10) for _ in range(8)]

    assert found == [bytes([number]) for number in range(8)]


def test_links_of_routes_need_a_route_that_is_free(
    loaded: Any, entered: Any, far: str
) -> None:
    del far
    entered(lambda: loaded[stopped].attach("10.97.1.0/24", "bw-near"))

    with pytest.raises(Exception, match=r"there is a route to 10\.97\.1\.0/24 in"):
        entered(lambda: loaded[stopped].attach("10.97.1.0/24", "bw-near"))
