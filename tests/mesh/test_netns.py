"""Network namespaces from outside."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from beewire.errors import MeshError
from beewire.mesh import netns
from beewire.mesh.lab import Namespace

pytestmark = pytest.mark.mesh


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace(f"bw-netns-{os.getpid()}")
    made.create()
    yield made
    made.delete()


def test_each_namespace_has_its_own_cookie(namespace: Namespace) -> None:
    assert netns.cookie(namespace.path) != netns.own_cookie()
    assert netns.cookie(namespace.path) == namespace.run(netns.own_cookie)


def test_a_new_namespace_has_no_interface_but_loopback(namespace: Namespace) -> None:
    def told() -> tuple[list[str], list[netns.Interface]]:
        return [name for _, name in socket.if_nameindex()], netns.interfaces()

    assert namespace.run(told)[0][0] == "lo"
    assert all(each.name != "lo" for each in namespace.run(told)[1])


def test_the_caller_stays_where_it_is(namespace: Namespace) -> None:
    before = netns.own_cookie()
    netns.within(namespace.path, netns.interfaces)

    assert netns.own_cookie() == before


def test_what_fails_inside_fails_outside(namespace: Namespace) -> None:
    def fail() -> None:
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        netns.within(namespace.path, fail)


def test_a_namespace_that_is_not_there_is_named() -> None:
    with pytest.raises(MeshError, match="/run/netns/bw-none cannot be opened"):
        netns.cookie(Path("/run/netns/bw-none"))


def test_what_is_no_namespace_is_named(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.touch()

    with pytest.raises(MeshError, match="plain cannot be entered: Invalid argument"):
        netns.cookie(path)
