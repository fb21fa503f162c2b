"""One lab and one node for each module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from beewire.bpf.kernel import pins as bpffs
from beewire.bpf.kernel import syscall
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node.load() as made:
        yield made


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Path]:
    """A directory on a BPF file system of the test's own."""
    mount = tmp_path / "bpf"
    mount.mkdir()
    bpffs.ensure_bpffs(str(mount))
    yield mount / "set"
    assert syscall.unmount(str(mount)) == 0
