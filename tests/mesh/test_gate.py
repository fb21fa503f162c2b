"""The gates, by real sockets: nothing comes out of a closed pod, nor in."""

import errno
import os
import socket
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf import kernel, load
from beewire.bpf.author.loaded import Loaded
from beewire.bpf.author.net_programs import TcProgram
from beewire.errors import KernelError, MeshError
from beewire.mesh import events, gate, netns
from beewire.mesh.events import Reason
from beewire.mesh.lab import Lab
from beewire.mesh.lab.pods import Pod
from beewire.mesh.programs import gate as inside
from beewire.mesh.programs.events import BURST, SECOND
from tests.mesh.outside import Outside

pytestmark = pytest.mark.mesh

PING = b"\x08\0\xf7\xff\0\0\0\0"
PING6 = b"\x80\0\0\0\0\0\0\0"
SOLICITATION = b"\x87\0\0\0" + bytes(20)
PATIENCE_S = 30.0
IP_HDRINCL = 255  # IPPROTO_RAW
SOL_IPV6, UNICAST_HOPS = 41, 16


@pytest.fixture(scope="module")
def programs() -> Iterator[Loaded]:
    with load(gate.programs()) as loaded:
        yield loaded


@pytest.fixture(scope="module", params=["all", "frames"])
def either(request: pytest.FixtureRequest, programs: Loaded) -> Iterator[Loaded]:
    """The shared programs; and those of kernels without netfilter's links."""
    if request.param == "all":
        yield programs
        return
    with load((inside.frames_out, inside.frames_pass)) as loaded:
        yield loaded


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture
def outside(lab: Lab) -> Iterator[Outside]:
    """The router's side of pod A."""
    watched = Outside(lab.run.namespace("node"), "bw-a")
    watched.packets()
    yield watched
    watched.close()


def refusal(attempt: Callable[[], object]) -> str:
    """The errno's name that an attempt fails with, "" if it does not."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def udp(to: Pod) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (to.address, 53))


def udp6(to: Pod) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (to.address6, 53))


def connected_udp(to: Pod) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((to.address, 53))
        sock.send(b"x")


def ping(to: Pod) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.sendto(PING, (to.address, 0))


def ping6(to: Pod) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
        sock.sendto(PING6, (to.address6, 0))


def raw(to: Pod) -> None:
    header = bytearray(20)
    struct.pack_into("!BBHHHBB", header, 0, 0x45, 0, 20, 0, 0, 64, 253)
    header[16:20] = socket.inet_aton(to.address)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, IP_HDRINCL) as sock:
        sock.sendto(bytes(header), (to.address, 0))


def forged_neighbour(to: Pod) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
        sock.setsockopt(SOL_IPV6, UNICAST_HOPS, 255)
        sock.sendto(SOLICITATION, (to.address6, 0))


def frame(_: Pod) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("eth0", 0))
        sock.send(b"\xff" * 12 + b"\x88\xb5" + bytes(46))


def forged_arp(_: Pod) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("eth0", 0))
        sock.send(b"\xff" * 12 + b"\x08\x06" + bytes(46))


DATAGRAMS = (udp, udp6, connected_udp, ping, ping6, raw)
FRAMES = (*DATAGRAMS, frame, forged_arp)
ATTEMPTS = (*FRAMES, forged_neighbour)


def test_no_process_passes_for_the_kernel(
    lab: Lab, outside: Outside, programs: Loaded
) -> None:
    with gate.close_namespace(programs, lab.a.namespace.path):
        refused = lab.a.app.call(lambda: refusal(lambda: forged_neighbour(lab.b)))

    assert refused == "EPERM"
    assert not outside.packets()


@pytest.mark.parametrize("attempt", FRAMES, ids=lambda each: each.__name__)
def test_nothing_leaves_a_closed_namespace(
    lab: Lab,
    outside: Outside,
    either: Loaded,
    attempt: Callable[[Pod], None],
) -> None:
    with gate.close_namespace(either, lab.a.namespace.path):
        refused = lab.a.app.call(lambda: refusal(lambda: attempt(lab.b)))

    # What a filter drops, it drops in silence.
    silent = inside.packets.name not in either.programs
    assert refused in ("" if silent else "EPERM", "ENOBUFS")
    assert not [
        f for f in outside.frames() if b"\xff" * 12 in f.data or f.kind[0] == "i"
    ]


def test_no_connection_leaves_a_closed_namespace(
    lab: Lab, outside: Outside, either: Loaded
) -> None:
    def dial() -> None:
        for family, address in (
            (socket.AF_INET, lab.b.address),
            (socket.AF_INET6, lab.b.address6),
        ):
            with socket.socket(family) as sock:
                sock.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    sock.connect((address, 80))

    with gate.close_namespace(either, lab.a.namespace.path):
        lab.a.namespace.run(dial)

    assert not outside.packets()


def test_nothing_comes_into_a_closed_namespace(lab: Lab, either: Loaded) -> None:
    with (
        lab.a.app.listen("0.0.0.0", 9000) as listener,
        gate.close_namespace(either, lab.a.namespace.path),
    ):
        listener.settimeout(0.2)

        def knock() -> None:
            with socket.socket() as sock:
                sock.settimeout(0.1)
                sock.connect((lab.a.address, 9000))

        with pytest.raises(TimeoutError):
            lab.b.namespace.run(knock)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_loopback_stays_open(lab: Lab, either: Loaded) -> None:
    with gate.close_namespace(either, lab.a.namespace.path):
        for address in ("127.0.0.1", lab.a.address, "::1", lab.a.address6):
            with (
                lab.a.app.listen(address, 9000) as listener,
                lab.a.app.connect(address, 9000) as client,
            ):
                listener.settimeout(30)
                server, peer = listener.accept()
                server.close()

                assert peer[:2] == client.getsockname()[:2]


def test_neighbours_still_find_a_closed_pod(
    lab: Lab, outside: Outside, either: Loaded
) -> None:
    node = lab.run.namespace("node")

    def ask() -> None:
        for family, address in (
            (socket.AF_INET, lab.a.address),
            (socket.AF_INET6, lab.a.address6),
        ):
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"x", (address, 9))

    def neighbours() -> str:
        return subprocess.run(
            ["ip", "neigh", "show", "dev", "bw-a"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    with gate.close_namespace(either, lab.a.namespace.path):
        node.run(ask)
        deadline = time.monotonic() + PATIENCE_S
        while (seen := node.run(neighbours)).count("lladdr") < 2:
            assert time.monotonic() < deadline, seen
            time.sleep(0.02)

    assert "INCOMPLETE" not in seen
    kinds = {frame.kind for frame in outside.frames()}
    assert {"arp", "nd"} <= kinds <= {"arp", "nd", "mld"}


def test_an_interface_that_comes_later_is_closed(lab: Lab, programs: Loaded) -> None:
    def later() -> str:
        for words in (
            "link add later type veth peer name other",
            "addr add 10.9.9.1/24 dev later",
            "link set later up",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            return refusal(lambda: sock.sendto(b"x", ("10.9.9.2", 53)))

    with gate.close_namespace(programs, lab.a.namespace.path):
        assert lab.a.namespace.run(later) == "EPERM"


@pytest.mark.parametrize("sweep", [False, True])
def test_an_open_gate_lets_everything_through(
    lab: Lab, outside: Outside, either: Loaded, sweep: bool
) -> None:
    closed = gate.close_namespace(either, lab.a.namespace.path)
    closed.open(sweep=sweep)
    refused = lab.a.app.call(
        lambda: [refusal(lambda each=each: each(lab.b)) for each in ATTEMPTS]  # type: ignore[misc]
    )
    closed.sweep()
    closed.open()

    assert refused == [""] * len(ATTEMPTS)
    assert {"ip4/17", "ip6/17", "ip4/1", "ip4/253"} <= outside.packets().keys()
    assert closed.is_swept


def test_a_namespace_is_closed_once(lab: Lab, programs: Loaded) -> None:
    with (
        gate.close_namespace(programs, lab.a.namespace.path) as first,
        pytest.raises(MeshError, match="closed already"),
    ):
        gate.close_namespace(programs, lab.a.namespace.path)

    assert not first.is_swept


def test_a_namespace_that_is_not_there_cannot_be_closed(programs: Loaded) -> None:
    with pytest.raises(MeshError, match="bw-none cannot be opened"):
        gate.close_namespace(programs, Path("/run/netns/bw-none"))


def test_a_gate_whose_namespace_is_gone_can_be_opened(
    lab: Lab, programs: Loaded
) -> None:
    closed = gate.close_namespace(programs, lab.a.namespace.path)
    lab.run.end()
    closed.open()

    assert closed.is_swept


def test_refusals_are_counted_and_told(lab: Lab, either: Loaded) -> None:
    events.poll(either)
    pod = netns.cookie(lab.a.namespace.path)
    with gate.close_namespace(either, lab.a.namespace.path):

        def send() -> int:
            for _ in range(100):
                refusal(lambda: udp(lab.b))
            return os.getpid()

        process = lab.a.app.call(send)

    # The kernel reports multicast groups meanwhile, and is refused, too.
    every = [event for event in events.poll(either) if event.pod == pod]
    told = [event for event in every if event.protocol == "udp"]
    seconds = Counter(event.when_ns >> SECOND for event in every)
    assert 100 <= events.counts(either, pod)[Reason.NAMESPACE_CLOSED] <= 110
    # An event may be stamped in the second after the one that it is counted in.
    assert BURST <= max(seconds.values()) <= BURST + 2
    assert {(e.reason, e.protocol, e.process, e.inbound) for e in told} == {
        (Reason.NAMESPACE_CLOSED, "udp", process, False)
    }
    assert told[0].target == f"{lab.b.address}:53"
    assert str(told[0]).startswith(f"refused udp {lab.a.address}:")
    assert told[0].to_json()["reason"] == "NAMESPACE_CLOSED"


def test_counters_of_a_pod_are_forgotten(lab: Lab, programs: Loaded) -> None:
    pod = netns.cookie(lab.a.namespace.path)
    with gate.close_namespace(programs, lab.a.namespace.path):
        lab.a.app.call(lambda: refusal(lambda: udp(lab.b)))
    events.forget(programs, pod)

    assert sum(events.counts(programs, pod).values()) == 0


@pytest.fixture
def pins() -> Iterator[Path]:
    kernel.ensure_bpffs()
    directory = Path(f"/sys/fs/bpf/bw-gate-test-{os.getpid()}")
    directory.mkdir(mode=0o700)
    yield directory
    for path in sorted(directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    directory.rmdir()


def test_a_pinned_gate_outlives_its_process(
    lab: Lab, outside: Outside, pins: Path, programs: Loaded
) -> None:
    child = os.fork()
    if child == 0:
        closed = gate.close_namespace(programs, lab.a.namespace.path)
        closed.pin(pins / "a")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    refused = lab.a.app.call(lambda: refusal(lambda: udp(lab.b)))
    found = gate.Gate.from_pins(programs, pins / "a")
    found.open()
    passed = lab.a.app.call(lambda: refusal(lambda: udp(lab.b)))

    assert (refused, passed) == ("EPERM", "")
    assert not (pins / "a").exists()
    assert outside.packets() == {"ip4/17": 1}


def as_filter(program: TcProgram[Any], interface: int, direction: str) -> kernel.Link:
    return program.attach(interface, direction, priority=1)


def test_a_gate_of_filters_outlives_its_process(
    lab: Lab, outside: Outside, pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As kernels before 6.4 have it: no links, neither of netfilter nor of tc."""

    monkeypatch.setattr(gate, "_first", as_filter)
    before = lab.a.app.run(["/sbin/tc", "filter", "show", "dev", "eth0", "egress"])
    with load((inside.frames_out, inside.frames_pass)) as programs:
        child = os.fork()
        if child == 0:
            closed = gate.close_namespace(programs, lab.a.namespace.path)
            closed.pin(pins / "a")
            closed.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        lab.a.app.call(lambda: udp(lab.b))  # a filter drops in silence
        found = gate.Gate.from_pins(programs, pins / "a", lab.a.namespace.path)
        found.close()
        lab.a.app.call(lambda: udp(lab.b))
        closed_to = outside.packets()
        again = gate.Gate.from_pins(programs, pins / "a", lab.a.namespace.path)
        again.open()
        lab.a.app.call(lambda: udp(lab.b))

    assert (closed_to, outside.packets()) == ({}, {"ip4/17": 1})
    assert not (pins / "a").exists()
    assert (
        lab.a.app.run(["/sbin/tc", "filter", "show", "dev", "eth0", "egress"]) == before
    )


def test_a_gate_of_filters_whose_namespace_is_gone_can_be_opened(
    pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_first", as_filter)
    with load((inside.frames_out, inside.frames_pass)) as programs:
        with Lab() as lab:
            closed = gate.close_namespace(programs, lab.a.namespace.path)
            closed.pin(pins / "a")
            closed.close()
            path = lab.a.namespace.path
        gate.Gate.from_pins(programs, pins / "a", path).open()

    assert not (pins / "a").exists()


def test_a_directory_that_is_taken_is_named(
    lab: Lab, pins: Path, programs: Loaded
) -> None:
    with gate.close_namespace(programs, lab.a.namespace.path) as closed:
        closed.pin(pins / "a")
        with pytest.raises(MeshError, match="a is taken"):
            closed.pin(pins / "a")
        closed.open()


def test_what_cannot_be_pinned_leaves_nothing(
    lab: Lab, tmp_path: Path, programs: Loaded
) -> None:
    with (
        gate.close_namespace(programs, lab.a.namespace.path) as closed,
        pytest.raises(KernelError, match="BPF file system"),
    ):
        closed.pin(tmp_path / "gate")

    assert list(tmp_path.iterdir()) == []


def test_where_nothing_is_pinned_is_no_gate(pins: Path, programs: Loaded) -> None:
    with pytest.raises(MeshError, match="no gate is pinned in"):
        gate.Gate.from_pins(programs, pins / "none")


@pytest.mark.parametrize("attempt", DATAGRAMS, ids=lambda each: each.__name__)
def test_nothing_leaves_a_closed_pod(
    lab: Lab,
    outside: Outside,
    either: Loaded,
    attempt: Callable[[Pod], None],
) -> None:
    with gate.close_pod(either, lab.a.cgroup.path, lab.a.namespace.path):
        refused = lab.a.app.call(lambda: refusal(lambda: attempt(lab.b)))

    assert refused == "EPERM"
    assert not outside.packets()


def test_nothing_comes_into_a_closed_pod(lab: Lab, either: Loaded) -> None:
    def bound() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("0.0.0.0", 9000))
        return sock

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", (lab.a.address, 9000))

    pod = netns.cookie(lab.a.namespace.path)
    with lab.a.app.call(bound) as sock:
        sock.settimeout(0.1)
        with gate.close_pod(either, lab.a.cgroup.path, lab.a.namespace.path):
            lab.b.app.call(send)
            with pytest.raises(TimeoutError):
                sock.recv(1)
        sock.settimeout(PATIENCE_S)
        lab.b.app.call(send)
        assert sock.recv(1) == b"x"

    assert events.counts(either, pod)[Reason.POD_CLOSED] == 1


def test_a_closed_pod_talks_to_itself(lab: Lab, programs: Loaded) -> None:
    with (
        gate.close_pod(programs, lab.a.cgroup.path, lab.a.namespace.path),
        lab.a.app.listen(lab.a.address, 9000),
        lab.a.app.connect(lab.a.address, 9000) as client,
    ):
        assert client.getpeername() == (lab.a.address, 9000)


def test_a_pod_without_a_cgroup_cannot_be_closed(programs: Loaded) -> None:
    with pytest.raises(MeshError, match="bw-none does not exist"):
        gate.close_pod(
            programs, Path("/sys/fs/cgroup/bw-none"), Path("/run/netns/bw-x")
        )
