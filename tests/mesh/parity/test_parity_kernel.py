"""The programs' decision, run by the kernel, against the pure function."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from random import Random

import pytest

from beewire.mesh.config import ALL, InterceptionMode, PodConfig, ProxyIdentity
from beewire.mesh.decision import Connection, Direction, decide, decider
from beewire.mesh.parity.kernel import Kernel
from beewire.mesh.programs import deciding

pytestmark = pytest.mark.kernel

POD = PodConfig(
    inbound_ports_include=ALL,
    inbound_ports_exclude=(15020, 15021, 15090),
    outbound_ip_ranges_include=ALL,
    outbound_ip_ranges_exclude=(IPv4Network("10.1.0.0/16"),),
    exclude_interfaces=("eth1",),
    enable_ipv6=True,
)
CALL = Connection(
    Direction.OUTBOUND,
    6,
    ip_address("10.0.0.7"),
    40000,
    ip_address("10.96.0.10"),
    80,
    1000,
    1000,
)
CONNECTIONS = (
    CALL,
    CALL._replace(in_proxy=True),
    CALL._replace(in_proxy=True, local=True),
    CALL._replace(uid=1337),
    CALL._replace(interface="eth1"),
    CALL._replace(destination=ip_address("10.1.2.3")),
    CALL._replace(destination=ip_address("2001:db8::1")),
    CALL._replace(direction=Direction.INBOUND),
    CALL._replace(direction=Direction.INBOUND, destination_port=15021),
)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with Kernel() as loaded:
        yield loaded


@pytest.mark.parametrize(
    "config",
    [
        POD,
        replace(POD, proxy_identity=ProxyIdentity.OWNER),
        replace(POD, inbound_interception_mode=InterceptionMode.TPROXY),
        replace(POD, inbound_interception_mode=InterceptionMode.NONE),
        replace(POD, outbound_ip_ranges_exclude=(IPv6Network("::/0"),)),
    ],
)
def test_the_kernel_decides_by_the_same_rules(
    kernel: Kernel, config: PodConfig
) -> None:
    asked = kernel.configure(config, {"eth1": 3})

    decided = kernel.decide(asked, CONNECTIONS)
    kernel.forget(asked)

    assert decided == [decide(config, each)[:2] for each in CONNECTIONS]


def test_long_lists_are_decided_alike(kernel: Kernel) -> None:
    config = replace(
        POD,
        proxy_identity=ProxyIdentity.OWNER,
        proxy_uid=tuple(range(5000, 6000)),
        inbound_ports_include=tuple(range(2, 20_000, 3)),
        outbound_ports_exclude=tuple(range(30_000, 40_000, 7)),
        outbound_ip_ranges_include=tuple(
            IPv4Network((n << 12, 20)) for n in range(1, 20_000, 3)
        ),
    )
    random = Random(2)
    calls = [
        CALL._replace(
            direction=random.choice(tuple(Direction)),
            destination=IPv4Address(random.randrange(1, 20_000 << 12)),
            destination_port=random.randrange(1, 40_000),
            uid=random.randrange(4500, 6500),
        )
        for _ in range(5000)
    ]
    asked = kernel.configure(config, {"eth1": 3})

    decided = kernel.decide(asked, calls)
    kernel.forget(asked)

    assert decided == [verdict[:2] for verdict in map(decider(config), calls)]
    assert len(set(decided)) > 5


def test_a_batch_may_be_longer_than_the_map(kernel: Kernel) -> None:
    asked = kernel.configure(POD, {"eth1": 3})

    decided = kernel.decide(asked, [CALL] * (deciding.MOST + 1))

    assert decided == [decide(POD, CALL)[:2]] * (deciding.MOST + 1)
