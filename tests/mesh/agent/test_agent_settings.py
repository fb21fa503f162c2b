"""A pod's configuration where it is kept: addresses and resolvers complete it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from beewire.errors import UsageError
from beewire.mesh.agent import Mesh, processes
from beewire.mesh.agent.records import PodRecord
from beewire.mesh.agent.resolving import pod_of
from beewire.mesh.agent.settings import (
    changed,
    config_of,
    configuration_of,
    with_resolvers,
)
from beewire.mesh.config import Bypass, combine, read_resolv_conf
from beewire.mesh.lab import Lab
from beewire.mesh.lab.place import stopping
from tests.mesh.agent.conftest import target

ASKS = "dns:\n  capture: true\n"


@pytest.mark.parametrize(
    ("addresses", "text", "captured"),
    [
        (("10.0.0.1", "fd00::1"), "ipv6: false\n", False),
        (("10.0.0.1", "fd00::1"), "drop_invalid: true\n", False),
        (("10.0.0.1", "fd00::1"), "dual_stack: true\n", True),
        (("fd00::1", "10.0.0.1"), "drop_invalid: true\n", True),
    ],
)
def test_ipv6_is_captured_by_the_pods_addresses(
    addresses: tuple[str, ...], text: str, captured: bool
) -> None:
    record = PodRecord(
        id="7",
        name="shop",
        state="enrolled",
        netns="/x",
        netns_inode=1,
        addresses=addresses,
        config=text,
    )

    assert pod_of(record).config.enable_ipv6 is captured


def test_a_default_is_told_where_nothing_was_said() -> None:
    origin = configuration_of("").origin("outbound_ip_ranges_include")

    assert "default of a pod without" in str(origin)


def test_what_cannot_be_honoured_is_refused() -> None:
    with pytest.raises(UsageError, match=r"interfaces\.reroute: cannot be honoured"):
        config_of("interfaces: {reroute: [eth1]}\n")


@pytest.mark.parametrize(
    "text", ["", "dns: {capture: true, all: true}\n", ASKS + "  servers: [10.0.0.1]\n"]
)
def test_resolvers_are_looked_up_only_where_they_are_asked_for(text: str) -> None:
    assert with_resolvers(text, Path("/nowhere")) == text


def test_a_process_has_a_resolv_conf() -> None:
    assert processes.resolv_conf_of(os.getpid()) == Path("/etc/resolv.conf").read_text()
    assert processes.resolv_conf_of(2**22 + 1) is None


@pytest.mark.mesh
def test_a_pod_is_enrolled_with_the_resolvers_of_its_sidecar(
    lab: Lab, mesh: Mesh
) -> None:
    code = "import time; print(1, flush=True); time.sleep(600)"
    sidecar = lab.a.proxy.start([sys.executable, "-c", code], stdout=subprocess.PIPE)
    with stopping(sidecar):
        assert sidecar.stdout is not None
        sidecar.stdout.readline()
        record = mesh.up(target(lab.a)._replace(config=ASKS, sidecar_later=True))

    here = combine(read_resolv_conf("/etc/resolv.conf")).config
    enrolled = configuration_of(record.config, record.addresses)
    assert enrolled.config.dns_servers_v4 == here.dns_servers_v4
    assert "the sidecar's /etc/resolv.conf" in str(enrolled.origin("dns_servers_v4"))


@pytest.mark.parametrize("text", ["", "drop_invalid: true\n", ASKS])
def test_a_change_leaves_everything_else_as_it_is(text: str) -> None:
    addresses = ("10.0.0.1", "fd00::1")
    before = config_of(text, addresses)

    after = config_of(changed(text, "bypass: {tier: all}\n"), addresses)

    assert after == replace(before, bypass=Bypass.ALL)
