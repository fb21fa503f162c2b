"""Programs on sockets: filters, the choice within SO_REUSEPORT groups, socket maps."""

import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from beewire.bpf import isa
from beewire.bpf.kernel import (
    Loaded,
    attach_reuseport,
    attach_socket_filter,
    attach_sockmap,
)
from beewire.bpf.kernel.links import detach
from beewire.bpf.kernel.links.info import SocketInfo, SockmapInfo
from beewire.bpf.kernel.links.query import query
from beewire.bpf.object import AttachKind, MapKind, MapSpec, ObjectSpec, ProgramKind
from beewire.errors import AttachError

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = pytest.mark.kernel

MakeCounter = Callable[..., "Counter"]
DROP, PASS, ALL = 0, 1, -1


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def wait_until(claim: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while not claim() and time.monotonic() < end:
        time.sleep(0.01)
    return claim()


def received(sock: socket.socket, count: int = 2) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            sender.sendto(b"x", sock.getsockname())
    found = 0
    while True:
        try:
            sock.recv(10)
        except BlockingIOError:
            return found
        found += 1


def test_a_filter_drops_what_its_socket_receives(
    counter: MakeCounter, receiver: socket.socket
) -> None:
    drop, let = (
        counter(ProgramKind.SOCKET_FILTER, None, 0),
        counter(ProgramKind.SOCKET_FILTER, None, ALL),
    )

    with attach_socket_filter(drop.program, receiver) as link:
        during = received(receiver)
        link.update(let.program)
        updated = received(receiver)
        info, kind = link.info, link.kind
    after = received(receiver)

    assert (during, updated, after) == (0, 2, 2)
    assert (drop.hits, let.hits) == (2, 2)
    assert kind == "socket_filter"
    assert isinstance(info, SocketInfo)
    assert info.program_id == let.program.info().id


def test_a_filter_stays_with_its_socket_until_it_is_taken_off(
    counter: MakeCounter, receiver: socket.socket
) -> None:
    drop = counter(ProgramKind.SOCKET_FILTER, None, 0)
    attach_socket_filter(drop.program, receiver).release()
    left = received(receiver)

    was_there = detach.socket(receiver)

    assert (left, was_there, received(receiver)) == (0, True, 2)
    assert not detach.socket(receiver)


def test_a_locked_filter_is_not_replaced(
    counter: MakeCounter, receiver: socket.socket
) -> None:
    let = counter(ProgramKind.SOCKET_FILTER, None, ALL)

    with (
        attach_socket_filter(let.program, receiver, lock=True),
        pytest.raises(AttachError, match="its filter is locked"),
    ):
        attach_socket_filter(let.program, receiver)


def test_a_reuseport_program_drops_for_its_group(
    counter: MakeCounter, receiver: socket.socket
) -> None:
    drop = counter(ProgramKind.SK_REUSEPORT, AttachKind.SK_REUSEPORT_SELECT, DROP)
    let = counter(ProgramKind.SK_REUSEPORT, AttachKind.SK_REUSEPORT_SELECT, PASS)

    with attach_reuseport(drop.program, receiver) as link:
        during = received(receiver)
        link.update(let.program)
        updated = received(receiver)
    after = received(receiver)

    assert (during, updated, after) == (0, 2, 2)
    assert link.kind == "sk_reuseport"
    assert (drop.hits, let.hits) == (2, 2)


def test_a_socket_without_so_reuseport_is_told(counter: MakeCounter) -> None:
    count = counter(ProgramKind.SK_REUSEPORT, AttachKind.SK_REUSEPORT_SELECT)

    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        pytest.raises(AttachError, match="it has no SO_REUSEPORT; set it before bind"),
    ):
        attach_reuseport(count.program, sock)


def test_what_is_no_socket_is_told(counter: MakeCounter) -> None:
    count = counter(ProgramKind.SOCKET_FILTER)

    with (
        open("/dev/null", "rb") as file,  # noqa: PTH123 - its descriptor is all
        pytest.raises(AttachError, match="is no open socket"),
    ):
        attach_socket_filter(count.program, file.fileno())


def test_a_program_of_another_kind_is_told(
    counter: MakeCounter, receiver: socket.socket
) -> None:
    count = counter(ProgramKind.XDP)

    with pytest.raises(
        AttachError, match="does not belong on a socket: it takes a fil"
    ):
        attach_socket_filter(count.program, receiver)


@pytest.fixture
def table(
    make_object: Callable[..., ObjectSpec], load_now: Callable[..., Loaded]
) -> Loaded:
    """An empty sockmap "s"."""
    spec = MapSpec("s", kind=MapKind.SOCKMAP, key_size=4, value_size=8, max_entries=4)
    return load_now(make_object(spec))


@pytest.mark.parametrize("as_link", [True, False])
def test_a_verdict_drops_what_the_sockets_of_a_map_receive(
    counter: MakeCounter, table: Loaded, as_link: bool
) -> None:
    hook = AttachKind.SK_SKB_VERDICT
    drop = counter(ProgramKind.SK_SKB, hook, DROP)
    let = counter(ProgramKind.SK_SKB, hook, PASS)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        accepted, _ = server.accept()
        with (
            accepted,
            attach_sockmap(drop.program, table.maps["s"], as_link=as_link) as link,
        ):
            table.maps["s"][0] = accepted
            accepted.settimeout(0.3)
            client.send(b"one")
            assert wait_until(lambda: drop.hits >= 1)
            with pytest.raises(TimeoutError):
                accepted.recv(10)
            link.update(let.program)
            # A socket keeps the programs that the map had when it was put in.
            del table.maps["s"][0]
            table.maps["s"][0] = accepted
            client.send(b"two")
            reached = wait_until(lambda: let.hits >= 1)
            info, kind = link.info, link.kind

    assert drop.hits >= 1
    assert reached
    assert kind in (("sockmap", "sockmap.attach") if as_link else ("sockmap.attach",))
    assert isinstance(info, SockmapInfo)
    assert info.attach_kind is hook


def test_a_map_that_has_a_program_says_whose(
    counter: MakeCounter, table: Loaded
) -> None:
    hook = AttachKind.SK_MSG_VERDICT
    if query(table.maps["s"].fd, hook) is None:
        pytest.skip("this kernel does not tell the programs of a map of sockets")
    one, two = counter(ProgramKind.SK_MSG, hook), counter(ProgramKind.SK_MSG, hook)
    number = one.program.info().id

    with (
        attach_sockmap(one.program, table.maps["s"]),
        pytest.raises(AttachError, match=rf"there already: program {number} \(count\)"),
    ):
        attach_sockmap(two.program, table.maps["s"])


def test_what_a_map_was_left_with_is_replaced(
    counter: MakeCounter, table: Loaded
) -> None:
    hook = AttachKind.SK_MSG_VERDICT
    one, two = counter(ProgramKind.SK_MSG, hook), counter(ProgramKind.SK_MSG, hook)
    attach_sockmap(one.program, table.maps["s"], as_link=False).release()

    attach_sockmap(two.program, table.maps["s"], as_link=False, replace=True).release()

    assert detach.sockmap(table.maps["s"], hook) == [two.program.info().id]


def test_what_a_map_was_left_with_is_taken_off(
    counter: MakeCounter, table: Loaded
) -> None:
    hook = AttachKind.SK_MSG_VERDICT
    count = counter(ProgramKind.SK_MSG, hook)
    attach_sockmap(count.program, table.maps["s"], as_link=False).release()

    taken = detach.sockmap(table.maps["s"], hook)

    assert taken == [count.program.info().id]
    assert detach.sockmap(table.maps["s"], hook) == []


def test_a_section_without_a_hook_is_told_what_to_write(
    make_program: Callable[..., object],
    make_object: Callable[..., ObjectSpec],
    load_now: Callable[..., Loaded],
    table: Loaded,
) -> None:
    program = make_program(
        isa.mov_imm(0, 1), isa.exit_insn(), kind=ProgramKind.SK_SKB, section="sk_skb"
    )
    loaded = load_now(make_object(program))

    with pytest.raises(AttachError, match="write sk_skb/verdict, sk_skb/stream_verd"):
        attach_sockmap(loaded.programs["program"], table.maps["s"])
