"""Pods in whose namespace conntrack runs: others' rules ask for it, and it answers, too."""

from collections.abc import Iterator

import pytest

from beewire.mesh.enrol import enrol
from beewire.mesh.lab import Lab, nginx, sidecar
from beewire.mesh.lab.tools import require
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

REQUEST = b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"
TRACK = "*filter\n-A INPUT -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n"


@pytest.fixture(scope="module")
def tracked() -> Iterator[Lab]:
    with Lab() as lab, enrol(target(lab.a)), enrol(target(lab.b)):
        for pod in lab.pods:
            for program in ("iptables-legacy-restore", "ip6tables-legacy-restore"):
                pod.app.run([require(program), "-w", "10"], text=TRACK)
        with sidecar(lab.a), sidecar(lab.b), nginx(lab.b):
            yield lab


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_request_passes_both_sidecars(tracked: Lab, family: str) -> None:
    host = tracked.b.address if family == "ipv4" else tracked.b.address6
    with tracked.a.app.connect(host, 80) as sock:
        sock.sendall(REQUEST)
        answer = b"".join(iter(lambda: sock.recv(1 << 16), b"")).lower()

    assert b"x-bw-outbound: a" in answer
    assert b"x-bw-inbound: b" in answer
