"""Archives of the initramfs, against a reader of our own and busybox's cpio."""

import stat
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.guest import tools
from beewire.guest.cpio import Archive

HEADER = 110
NAMES = st.text("abcdefgh.-_ü", min_size=1, max_size=20).filter(
    lambda name: name not in {".", ".."}
)


class Entry(NamedTuple):
    inode: int
    mode: int
    device: tuple[int, int]
    content: bytes


def read(data: bytes) -> dict[str, Entry]:
    """Every entry of an archive, as the kernel's init/initramfs.c goes through it."""
    entries: dict[str, Entry] = {}
    at = 0
    while True:
        assert at % 4 == 0
        assert data[at : at + 6] == b"070701"
        fields = [int(data[i : i + 8], 16) for i in range(at + 6, at + HEADER, 8)]
        name = data[at + HEADER : at + HEADER + fields[11]]
        content_at = at + HEADER + fields[11] + 3 & ~3
        content = data[content_at : content_at + fields[6]]
        assert name.endswith(b"\0")
        if name == b"TRAILER!!!\0":
            return entries
        text = name[:-1].decode()
        entries[text] = Entry(fields[0], fields[1], (fields[9], fields[10]), content)
        at = content_at + fields[6] + 3 & ~3


@given(st.dictionaries(NAMES, st.binary(max_size=70)))
def test_every_file_is_read_back_as_it_was_put_in(files: dict[str, bytes]) -> None:
    archive = Archive()
    for name, content in files.items():
        archive.file(name, content)

    entries = read(archive.to_bytes())

    assert {name: entry.content for name, entry in entries.items()} == files


@given(st.dictionaries(NAMES, st.binary(max_size=70), min_size=2))
def test_no_two_entries_share_an_inode(files: dict[str, bytes]) -> None:
    archive = Archive()
    for name, content in files.items():
        archive.file(name, content)

    inodes = [entry.inode for entry in read(archive.to_bytes()).values()]

    assert len(set(inodes)) == len(files)


def test_each_kind_of_entry_has_its_mode() -> None:
    archive = Archive()
    archive.directory("d")
    archive.file("f", b"x")
    archive.file("x", b"x", executable=True)
    archive.link("l", "f")
    archive.device("c", 5, 1)

    entries = read(archive.to_bytes())

    assert {name: stat.filemode(entry.mode) for name, entry in entries.items()} == {
        "d": "drwxr-xr-x",
        "f": "-rw-r--r--",
        "x": "-rwxr-xr-x",
        "l": "lrwxrwxrwx",
        "c": "crw-------",
    }
    assert entries["c"].device == (5, 1)
    assert entries["l"].content == b"f"


def test_an_archive_may_grow_after_it_was_taken() -> None:
    archive = Archive()
    archive.file("a", b"1")
    archive.to_bytes()
    archive.file("b", b"2")

    assert set(read(archive.to_bytes())) == {"a", "b"}


def test_busybox_unpacks_what_was_packed(tmp_path: Path) -> None:
    busybox = tools.find("busybox")
    if busybox is None:
        pytest.skip("needs busybox")
    archive = Archive()
    archive.directory("folder")
    archive.file("folder/file", b"content" * 1000)
    archive.link("link", "folder/file")

    subprocess.run(
        [busybox, "cpio", "-i"],
        cwd=tmp_path,
        input=archive.to_bytes(),
        check=True,
        capture_output=True,
    )

    assert (tmp_path / "link").read_bytes() == b"content" * 1000
