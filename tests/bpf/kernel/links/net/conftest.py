"""Two network namespaces with a wire between them, and traffic on it."""

import contextlib
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from beewire.bpf.kernel import features, netlink
from beewire.bpf.kernel.netlink import IFINFO, Route
from beewire.bpf.object import AttachKind
from beewire.errors import KernelError
from tests.netns import enter, ip

RunInside = Callable[[Callable[[], object]], None]
NEAR, FAR = "10.98.0.1", "10.98.0.2"
MARK = 77  # of our echoes
_IFNAME, _LINKINFO, _INFO_KIND = 3, 18, 1


@pytest.fixture
def far(netns: str) -> Iterator[str]:
    """A second namespace: its bw-far has 10.98.0.2, bw-near of `netns` 10.98.0.1."""
    name = f"bw-far-{os.getpid()}"
    ip("netns", "add", name)
    try:
        peer = ("peer", "name", "bw-far", "netns", name)
        ip("link", "add", "bw-near", "type", "veth", *peer, netns=netns)
        for place, device, address in (
            (netns, "bw-near", NEAR),
            (name, "bw-far", FAR),
        ):
            ip("addr", "add", f"{address}/24", "dev", device, netns=place)
            ip("link", "set", device, "up", netns=place)
            ip("link", "set", "lo", "up", netns=place)
            # Neighbours are known: nothing but what a test sends is on the wire.
            other = FAR if address == NEAR else NEAR
            away = (name, "bw-far") if place == netns else (netns, "bw-near")
            _know(place, device, other, _mac(*away))
        yield name
    finally:
        ip("netns", "del", name)


@pytest.fixture
def netkit(netns: str, inside: RunInside) -> tuple[str, str]:
    """The ends of a netkit pair in `netns`, the primary one first; both are up."""
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
    return "bw-nk", peers[0]


def _mac(netns: str, device: str) -> str:
    shown = subprocess.run(
        [*enter(netns), "ip", "link", "show", device],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = re.search(r"link/ether (\S+)", shown)
    assert found
    return found[1]


def _know(netns: str, device: str, address: str, mac: str) -> None:
    ip("neigh", "add", address, "lladdr", mac, "dev", device, netns=netns)


def checksum(data: bytes) -> int:
    words: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    words = (words & 0xFFFF) + (words >> 16)
    return ~(words + (words >> 16)) & 0xFFFF


def echo(number: int) -> bytes:
    body = struct.pack("!BBHHH", 8, 0, 0, MARK, number) + b"beewire!"
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]


def answered(sock: socket.socket, number: int) -> bool:
    """Whether the echo with this number comes back in time."""
    end = time.monotonic() + 0.3
    while True:
        # What is there is read even if the processor was somebody else's for so long.
        sock.settimeout(max(0.0, end - time.monotonic()))
        try:
            data = sock.recv(2000)
        except (TimeoutError, BlockingIOError):
            return False
        kind, _, _, mark, told = struct.unpack_from("!BBHHH", data, (data[0] & 15) * 4)
        if (kind, mark, told) == (0, MARK, number):
            return True


def ping(to: str, count: int) -> int:
    """How many of `count` echoes come back; what is dropped on its way out does not."""
    kind = (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    found = 0
    with socket.socket(*kind) as sock:
        for number in range(count):
            with contextlib.suppress(PermissionError):
                sock.sendto(echo(number), (to, 0))
                found += answered(sock, number)
    return found


@pytest.fixture
def answers(inside: RunInside, far: str) -> Callable[..., int]:
    """Ping the other end from `netns`: how many echoes came back."""
    del far

    def run(count: int = 3, to: str = FAR) -> int:
        found: list[int] = []
        inside(lambda: found.append(ping(to, count)))
        return found[0]

    return run
