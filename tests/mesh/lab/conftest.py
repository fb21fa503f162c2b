"""What the lab's tests share."""

import os
from collections.abc import Iterator

import pytest

from beewire.mesh.lab import Iptables, Lab, Mesh, SidecarConfig, mesh
from beewire.mesh.lab.demo import PROGRAMS
from beewire.mesh.lab.tools import find

RAW_PORT = 9000


@pytest.fixture(scope="session")
def machine() -> None:
    if os.geteuid() != 0:
        pytest.skip("the lab makes namespaces and cgroups: needs root")
    pytest.importorskip("pyroute2", reason="needs the extra `lab`")
    for program in PROGRAMS:
        if find(program) is None:
            pytest.skip(f"{program} is not installed")


@pytest.fixture
def lab(machine: None) -> Iterator[Lab]:  # noqa: ARG001 - it may skip
    with Lab() as made:
        yield made


@pytest.fixture(scope="session")
def iptables_mesh(machine: None) -> Iterator[Mesh]:  # noqa: ARG001 - it may skip
    config = SidecarConfig(tcp_ports=(RAW_PORT,))
    with Lab() as made, mesh(made, Iptables(), config) as running:
        yield running
