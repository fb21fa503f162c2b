"""Envoy's administration interface, asked from outside: real Envoys, and impostors."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from beewire.mesh.lab import Lab, SidecarConfig, sidecar
from beewire.mesh.netns import within
from beewire.mesh.sidecar import Admin, UnreadableError, parse
from tests.mesh.sidecar import capture

pytestmark = pytest.mark.host

SMALL = SidecarConfig(tcp_ports=(9000,))
SOON_S = 40.0


def until(found: Callable[[], bool]) -> None:
    """Wait for something that comes soon."""
    deadline = time.monotonic() + SOON_S
    while not found():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)


@pytest.mark.mesh
def test_a_real_envoy_with_all_variants_is_judged_as_the_golden_files_say() -> None:
    with (
        Lab() as lab,
        capture.everything(lab),
        Admin(lab.b.namespace.path) as admin,
    ):
        assert capture.judged(admin.dump()) == capture.JUDGED.read_text()


@pytest.mark.mesh
def test_the_version_changes_with_the_configuration_and_only_then() -> None:
    with (
        Lab() as lab,
        sidecar(lab.b, SMALL) as running,
        Admin(lab.b.namespace.path) as admin,
    ):
        before = admin.version()
        admin.dump()
        assert admin.version() == before

        running.push(replace(SMALL, tcp_ports=(9000, 9001)))

        until(lambda: admin.version() != before)
        until(lambda: "0.0.0.0_9001" in {each.name for each in admin.dump().listeners})


@pytest.mark.mesh
def test_another_envoy_in_the_place_of_the_first_is_another_version() -> None:
    with Lab() as lab, Admin(lab.b.namespace.path) as admin:
        with sidecar(lab.b, SMALL):
            before = admin.version()
        with pytest.raises(UnreadableError, match="does not answer"):
            admin.version()
        with sidecar(lab.b, SMALL):
            assert admin.version() != before


@pytest.mark.kernel
def test_nobody_there_is_unreadable(netns: str) -> None:
    path = Path("/run/netns", netns)
    with (
        Admin(path) as admin,
        pytest.raises(UnreadableError, match="does not answer: Connection refused"),
    ):
        admin.dump()


@contextlib.contextmanager
def impostor(netns: str, answer: Callable[[socket.socket], None]) -> Iterator[Path]:
    """Somebody else on the administration interface's port."""
    path = Path("/run/netns", netns)
    listener = within(path, lambda: socket.create_server(("127.0.0.1", 15000)))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                with peer, contextlib.suppress(OSError):
                    peer.recv(4096)
                    answer(peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield path
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def says(text: bytes) -> Callable[[socket.socket], None]:
    """An answer."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text)
    return lambda peer: peer.sendall(head + text)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answers 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nshort", "no JSON"),
        (b"", "does not answer"),
    ],
)
def test_what_is_no_envoy_is_unreadable(
    netns: str, answer: bytes, problem: str
) -> None:
    with (
        impostor(netns, lambda peer: peer.sendall(answer)) as path,
        Admin(path) as admin,
        pytest.raises(UnreadableError, match=problem),
    ):
        admin.dump()


@pytest.mark.kernel
def test_an_answer_that_is_too_large_is_not_read_to_its_end(netns: str) -> None:
    with (
        impostor(netns, says(b"x" * 100_000)) as path,
        Admin(path, most=50_000) as admin,
        pytest.raises(UnreadableError, match="more than 50,000 bytes"),
    ):
        admin.dump()


@pytest.mark.kernel
def test_an_answer_that_takes_too_long_is_given_up(netns: str) -> None:
    def drop_by_drop(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            peer.sendall(b" ")
            time.sleep(0.02)

    with (
        impostor(netns, drop_by_drop) as path,
        Admin(path, timeout_s=0.3) as admin,
        pytest.raises(UnreadableError, match=r"more than 0\.3 s"),
    ):
        admin.dump()


@pytest.mark.kernel
def test_one_that_does_not_count_changes_has_no_version(netns: str) -> None:
    with (
        impostor(netns, says(b"hello")) as path,
        Admin(path) as admin,
        pytest.raises(UnreadableError, match="does not count changes"),
    ):
        admin.version()


@pytest.mark.kernel
def test_a_dump_is_the_same_whoever_serves_it(netns: str) -> None:
    golden = capture.DUMP.read_bytes()
    with impostor(netns, says(golden)) as path, Admin(path) as admin:
        assert admin.dump() == parse(golden)
