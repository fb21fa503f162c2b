"""Which files load a module, from the indices that depmod writes."""

import gzip
import lzma
from pathlib import Path

import pytest

from beewire.errors import GuestError
from beewire.guest.modules import Modules, module_name

DEPENDENCIES = """\
kernel/fs/overlayfs/overlay.ko.xz:
kernel/net/9p/9pnet.ko.xz: kernel/fs/netfs/netfs.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
"""


@pytest.fixture
def modules(tmp_path: Path) -> Modules:
    (tmp_path / "modules.dep").write_text(DEPENDENCIES)
    (tmp_path / "modules.builtin").write_text("kernel/drivers/virtio/virtio-pci.ko\n")
    return Modules(tmp_path)


def test_a_module_comes_behind_all_that_it_needs(modules: Modules) -> None:
    files = [module_name(path) for path in modules.closure(("9p",))]

    assert files == ["netfs", "9pnet", "9p"]


def test_no_module_is_loaded_twice(modules: Modules) -> None:
    files = [module_name(path) for path in modules.closure(("9p", "9pnet_virtio"))]

    assert files == ["netfs", "9pnet", "9p", "9pnet_virtio"]


def test_what_is_built_in_needs_no_file(modules: Modules) -> None:
    assert modules.closure(("virtio_pci",)) == []


def test_a_module_that_is_nowhere_is_an_error(modules: Modules) -> None:
    with pytest.raises(GuestError, match="no module zfs"):
        modules.closure(("zfs",))


def test_a_directory_without_an_index_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match=r"modules\.dep cannot be read"):
        Modules(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "packed"),
    [
        (".ko", b"elf"),
        (".ko.xz", lzma.compress(b"elf")),
        (".ko.gz", gzip.compress(b"elf")),
    ],
)
def test_modules_are_decompressed(
    modules: Modules, tmp_path: Path, suffix: str, packed: bytes
) -> None:
    (tmp_path / f"a{suffix}").write_bytes(packed)

    assert modules.read(f"a{suffix}") == b"elf"


def test_an_unknown_compression_is_an_error(modules: Modules, tmp_path: Path) -> None:
    (tmp_path / "a.ko.zst").write_bytes(b"")

    with pytest.raises(GuestError, match="neither plain nor compressed"):
        modules.read("a.ko.zst")
