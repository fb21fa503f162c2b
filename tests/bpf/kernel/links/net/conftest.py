"""Two network namespaces with a wire between them, and traffic on it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.netns import enter, ip

NEAR, FAR = "10.98.0.1", "10.98.0.2"


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


PING = """
import socket, struct, sys, time
def checksum(data):
    words = sum(struct.unpack(f"!{len(data) // 2}H", data))
    words = (words & 0xFFFF) + (words >> 16)
    return ~(words + (words >> 16)) & 0xFFFF
def echo(number):
    body = struct.pack("!BBHHH", 8, 0, 0, 77, number) + b"beewire!"
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
    answers = set()
    for number in range(int(sys.argv[2])):
        try:
            s.sendto(echo(number), (sys.argv[1], 0))
        except PermissionError:
            continue  # dropped on its way out
        end = time.monotonic() + 0.3
        while number not in answers and (left := end - time.monotonic()) > 0:
            s.settimeout(left)
            try:
                data = s.recv(2000)
            except TimeoutError:
                break
            kind, _, _, mark, told = struct.unpack_from("!BBHHH", data, (data[0] & 15) * 4)
            if (kind, mark) == (0, 77):
                answers.add(told)
    print(len(answers))
"""


@pytest.fixture
def answers(netns: str, far: str) -> Callable[[int], int]:
    """Ping the other end from `netns`: how many echoes came back."""
    del far

    def run(count: int = 3, to: str = FAR) -> int:
        done = subprocess.run(
            [*enter(netns), sys.executable, "-S", "-c", PING, to, str(count)],
            check=True,
            capture_output=True,
            text=True,
        )
        return int(done.stdout)

    return run
