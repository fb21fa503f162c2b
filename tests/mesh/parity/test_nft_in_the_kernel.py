"""What nft does with Istio's rules, by its own counters, against the oracle."""

import json
import shutil
import subprocess
import sys
from ipaddress import ip_address
from itertools import product
from pathlib import Path

import pytest

from beewire.mesh.config import PodConfig, from_istio
from beewire.mesh.parity import nft_input
from beewire.mesh.parity.judge import nft
from beewire.mesh.parity.oracle import Packet

WORKER = Path(__file__).with_name("nft_worker.py")
OWN = ("10.0.0.5", "fd00::5")
LOOPBACK = ("127.0.0.1", "::1")
ATTEMPTS = [
    (protocol, address, port, uid, gid)
    for protocol, address, port, (uid, gid) in product(
        ("tcp", "udp"),
        (*OWN, *LOOPBACK, "10.9.9.9", "192.0.2.1", "fd99::1", "2001:db8::1"),
        (53, 80, 443, 15008),
        ((1000, 1000), (1337, 1000), (1000, 1337), (1000, 202)),
    )
]
CONFIGS: dict[str, dict[str, object]] = {
    "all": {"OutboundIPRangesInclude": "*", "EnableIPv6": True},
    "ranges-and-ports": {
        "OutboundIPRangesInclude": "10.9.0.0/16,2001:db8::/32",
        "OutboundIPRangesExclude": "192.0.2.0/24,fd99::/64",
        "OutboundPortsInclude": "443",
        "OutboundPortsExclude": "80",
        "EnableIPv6": True,
    },
    "dns-and-groups": {
        "OutboundIPRangesInclude": "*",
        "OwnerGroupsExclude": "202",
        "RedirectDNS": True,
        "DNSServersV4": ["10.9.9.9", "127.0.0.1"],
        "DNSServersV6": ["fd99::1"],
        "EnableIPv6": True,
    },
    "only-a-group": {"OutboundIPRangesInclude": "*", "OwnerGroupsInclude": "202"},
}


@pytest.fixture(autouse=True, scope="module")
def _tools() -> None:
    if not shutil.which("nft"):
        pytest.skip("nft is not installed")
    alone = subprocess.run(
        ["unshare", "--net", "true"], capture_output=True, check=False
    )
    if alone.returncode:
        pytest.skip("network namespaces take root")


def counted(config: PodConfig) -> list[list[str]]:
    """The rules of nat that nft counted each attempt in."""
    given = {"rules": nft_input(config), "attempts": ATTEMPTS}
    done = subprocess.run(
        ["unshare", "--net", sys.executable, str(WORKER)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    return [in_nat(lines) for lines in json.loads(done.stdout)]


def in_nat(lines: list[str]) -> list[str]:
    return sorted(line for line in lines if " istio-proxy-nat " in line)


@pytest.mark.kernel
@pytest.mark.host
@pytest.mark.parametrize("name", CONFIGS)
def test_nft_counts_what_the_oracle_says(name: str) -> None:
    config = from_istio(CONFIGS[name])
    oracle = nft(config, {})

    found = counted(config)

    differences = []
    for attempt, lines in zip(ATTEMPTS, found, strict=True):
        protocol, text, port, uid, gid = attempt
        address = ip_address(text)
        local = text in (*OWN, *LOOPBACK)
        own = LOOPBACK if text in LOOPBACK else OWN
        packet = Packet(
            outbound=True,
            version=address.version,
            protocol={"tcp": 6, "udp": 17}[protocol],
            source=int(ip_address(own[address.version == 6])),
            source_port=40000,
            destination=int(address),
            destination_port=port,
            uid=uid,
            gid=gid,
            interface="lo" if local else "eth0",
        )
        said = [oracle.rules[number].text for number in oracle.decide(packet).trail]
        if in_nat(said) != lines:
            differences.append((attempt, lines, in_nat(said)))
    assert differences == []
    assert len({line for lines in found for line in lines}) > 5  # not one alone
