import os
import struct
from pathlib import Path

import pytest

from beewire.bpf.btf import Builder, Int, Member, Struct
from beewire.bpf.kernel.btf_cache import (
    build_id,
    cache_directory,
    kernel_index,
    open_index,
)
from beewire.errors import NotSupported


@pytest.fixture
def btf(tmp_path: Path) -> str:
    """A small BTF file."""
    u32 = Int("unsigned int", 4)
    builder = Builder()
    builder.add(Struct("pair", 8, (Member("a", u32, 0), Member("b", u32, 32))))
    path = tmp_path / "vmlinux"
    path.write_bytes(builder.encode())
    return str(path)


@pytest.fixture
def notes(tmp_path: Path) -> str:
    """ELF notes: one of another kind, then a build id."""
    path = tmp_path / "notes"
    other = struct.pack("=III", 6, 5, 1) + b"Linux\0\0\0" + b"12345\0\0\0"
    gnu = struct.pack("=III", 4, 20, 3) + b"GNU\0" + bytes(range(20))
    path.write_bytes(other + gnu)
    return str(path)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "beewire"


def size_of_pair(btf: str, directory: Path, notes: str) -> int:
    found = open_index(btf, str(directory), notes).lookup("pair", Struct)
    assert found is not None
    return found.size


def kept(directory: Path) -> Path:
    (file,) = directory.iterdir()
    return file


def test_the_build_id_is_found_among_the_notes(notes: str) -> None:
    assert build_id(notes) == bytes(range(20)).hex()


def test_a_kernel_without_notes_has_no_build_id(tmp_path: Path) -> None:
    assert build_id(str(tmp_path / "nothing")) == ""


@pytest.mark.kernel
def test_this_kernel_has_its_types() -> None:
    task = kernel_index().lookup("task_struct", Struct)

    assert task is not None
    assert task.size > 1000


def test_the_index_is_kept_under_the_build_id(
    btf: str, directory: Path, notes: str
) -> None:
    assert size_of_pair(btf, directory, notes) == 8

    file = kept(directory)
    assert file.name == f"btf-{build_id(notes)}"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_kept_index_is_used(btf: str, directory: Path, notes: str) -> None:
    size_of_pair(btf, directory, notes)
    before = kept(directory).stat()

    assert size_of_pair(btf, directory, notes) == 8

    assert kept(directory).stat().st_ino == before.st_ino


@pytest.mark.parametrize("damage", [b"", b"rubbish", bytes(4096)])
def test_a_damaged_index_is_made_anew(
    btf: str, directory: Path, notes: str, damage: bytes
) -> None:
    size_of_pair(btf, directory, notes)
    sound = kept(directory).read_bytes()
    kept(directory).write_bytes(damage)

    assert size_of_pair(btf, directory, notes) == 8
    assert kept(directory).read_bytes() == sound


def test_one_wrong_byte_is_noticed(btf: str, directory: Path, notes: str) -> None:
    size_of_pair(btf, directory, notes)
    sound = bytearray(kept(directory).read_bytes())
    wrong = sound.copy()
    wrong[-1] ^= 1
    kept(directory).write_bytes(wrong)

    assert size_of_pair(btf, directory, notes) == 8
    assert kept(directory).read_bytes() == sound


def test_an_index_of_absurd_size_is_made_anew(
    btf: str, directory: Path, notes: str
) -> None:
    size_of_pair(btf, directory, notes)
    sound = kept(directory).read_bytes()
    os.truncate(kept(directory), 1 << 40)

    assert size_of_pair(btf, directory, notes) == 8
    assert kept(directory).read_bytes() == sound


def test_a_fifo_in_the_place_of_the_index_is_replaced(
    btf: str, directory: Path, notes: str
) -> None:
    size_of_pair(btf, directory, notes)
    kept(directory).unlink()
    os.mkfifo(directory / f"btf-{build_id(notes)}")

    assert size_of_pair(btf, directory, notes) == 8
    assert kept(directory).is_file()


def test_a_directory_in_the_place_of_the_index_costs_nothing(
    btf: str, directory: Path, notes: str
) -> None:
    (directory / f"btf-{build_id(notes)}").mkdir(parents=True)
    directory.chmod(0o700)

    assert size_of_pair(btf, directory, notes) == 8
    assert kept(directory).is_dir()


def test_an_index_that_others_may_write_is_not_trusted(
    btf: str, directory: Path, notes: str
) -> None:
    size_of_pair(btf, directory, notes)
    kept(directory).chmod(0o666)

    assert size_of_pair(btf, directory, notes) == 8
    assert kept(directory).stat().st_mode & 0o777 == 0o600


def test_a_link_in_the_place_of_the_index_is_not_followed(
    btf: str, directory: Path, notes: str, tmp_path: Path
) -> None:
    size_of_pair(btf, directory, notes)
    elsewhere = tmp_path / "elsewhere"
    kept(directory).rename(elsewhere)
    (directory / f"btf-{build_id(notes)}").symlink_to(elsewhere)

    assert size_of_pair(btf, directory, notes) == 8
    assert not kept(directory).is_symlink()


def test_a_directory_that_others_may_enter_is_not_used(
    btf: str, directory: Path, notes: str
) -> None:
    directory.mkdir(parents=True)
    directory.chmod(0o755)

    assert size_of_pair(btf, directory, notes) == 8
    assert list(directory.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a directory away needs root")
def test_the_directory_of_another_user_is_not_used(
    btf: str, directory: Path, notes: str
) -> None:
    directory.mkdir(parents=True, mode=0o700)
    os.chown(directory, 65534, 65534)

    assert size_of_pair(btf, directory, notes) == 8
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("place", ["/proc/nowhere/beewire", "/dev/null/beewire"])
def test_a_cache_that_cannot_be_made_costs_nothing(
    btf: str, notes: str, place: str
) -> None:
    assert size_of_pair(btf, Path(place), notes) == 8


def test_without_a_home_nothing_is_kept(
    btf: str, notes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert size_of_pair(btf, Path("~/.cache/beewire"), notes) == 8
    assert not (tmp_path / "~").exists()


def test_without_a_build_id_nothing_is_kept(
    btf: str, directory: Path, tmp_path: Path
) -> None:
    assert size_of_pair(btf, directory, str(tmp_path / "nothing")) == 8
    assert not directory.exists()


def test_the_cache_directory_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_directory() == "/somewhere/beewire"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_directory() == "/home/me/.cache/beewire"


def test_a_kernel_without_types_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotSupported, match="CONFIG_DEBUG_INFO_BTF"):
        open_index(str(tmp_path / "none"), str(tmp_path))
