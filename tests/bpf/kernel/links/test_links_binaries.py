"""Places in programs and libraries: paths, names, versions, offsets."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from beewire.bpf.kernel.binaries import Binary, split_place
from beewire.errors import AttachError
from tests.static_probe import image

LIBC = "libc.so.6"


def offset(place: str) -> int:
    with Binary.find(LIBC) as libc:
        return libc.offset(place)


def test_a_library_is_found_by_its_name() -> None:
    with Binary.find("libc") as short, Binary.find(LIBC) as full:
        assert short.path == full.path
        assert Path(full.path).is_file()


def test_a_program_is_found_in_the_path() -> None:
    with Binary.find("sh") as shell:
        assert shell.path == shutil.which("sh") or shell.path.endswith("/sh")


def test_an_offset_is_added_to_a_function() -> None:
    assert offset("malloc+0x10") == offset("malloc") + 16
    assert offset("0x4711") == 0x4711
    assert offset("0x4700+17") == 0x4711


def test_a_version_is_told_from_another() -> None:
    try:
        old = offset("pthread_cond_wait@GLIBC_2.2.5")
    except AttachError:
        pytest.skip("this libc has one version of pthread_cond_wait")

    assert old != offset("pthread_cond_wait")
    assert offset("pthread_cond_wait") == offset("pthread_cond_wait@@GLIBC_2.3.2")


def test_an_offset_is_where_the_library_has_the_function() -> None:
    with Binary.find(LIBC) as libc:
        known = dict(libc.functions("getppi?"))

        assert known == {"getppid": libc.offset("getppid")}


def test_a_process_decides_whose_files_are_meant() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE
    ) as process:
        with Binary.find(LIBC, process.pid) as theirs, Binary.find(LIBC) as ours:
            same = Path(theirs.path).samefile(ours.path)
        assert process.stdin is not None
        process.stdin.close()

    assert same


def test_a_file_without_symbols_asks_for_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "bare"
    path.write_bytes(image(b"", b"\x90"))

    with (
        Binary.find(str(path)) as bare,
        pytest.raises(AttachError, match="it has no symbols: give an offset"),
    ):
        bare.offset("main")


@pytest.mark.parametrize("place", ["", "malloc", ":malloc", "libc:"])
def test_a_place_has_two_parts(place: str) -> None:
    with pytest.raises(AttachError, match="write path:function"):
        split_place(place)


def test_a_path_may_have_colons() -> None:
    assert split_place("/a:b/c:main") == ("/a:b/c", "main")
