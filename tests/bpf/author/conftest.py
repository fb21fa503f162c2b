"""Places for pins."""

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
    return lambda: len(list(Path("/proc/self/fd").iterdir()))
