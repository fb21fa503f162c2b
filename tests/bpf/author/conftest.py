"""Places for pins."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beewire.bpf.kernel import ensure_bpffs, syscall


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "bpf"
    path.mkdir()
    ensure_bpffs(str(path))
    yield str(path)
    assert syscall.unmount(str(path)) == 0


@pytest.fixture
def open_descriptors() -> Callable[[], int]:
    gc.collect()  # what earlier tests left to the collector
    return lambda: len(list(Path("/proc/self/fd").iterdir()))
