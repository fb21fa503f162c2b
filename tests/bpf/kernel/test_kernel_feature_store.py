"""Answers of probes, kept from one process to the next."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.host]

Run = Callable[..., subprocess.CompletedProcess[str]]

# Asks one thing, and tells whether the kernel was asked for it.
ASK = """
from beewire.bpf.kernel import syscall
from beewire.bpf.kernel.features import MapKind, map_type
from beewire.bpf.kernel.features import maps

asked = []
create = maps.create
maps.create = lambda *words: asked.append(words) or create(*words)
print(map_type(MapKind.HASH).answer.value, len(asked))
"""


@pytest.fixture
def ask(python: Run, tmp_path: Path) -> Callable[[], str]:
    def run() -> str:
        return python("-c", ASK, XDG_CACHE_HOME=str(tmp_path)).stdout.strip()

    return run


@pytest.fixture
def files(tmp_path: Path) -> Callable[[], list[Path]]:
    return lambda: sorted((tmp_path / "beewire").glob("features-*"))


def test_the_kernel_is_asked_once_in_a_boot(
    ask: Callable[[], str], files: Callable[[], list[Path]]
) -> None:
    assert ask() == "yes 1"
    assert ask() == "yes 0"
    assert [path.stat().st_mode & 0o777 for path in files()] == [0o600]


def test_a_file_that_was_changed_is_not_believed(
    ask: Callable[[], str], files: Callable[[], list[Path]]
) -> None:
    ask()
    (path,) = files()
    path.write_bytes(path.read_bytes().replace(b"HASH\tyes", b"HASH\tno?"))

    assert ask() == "yes 1"
    assert b"HASH\tyes" in path.read_bytes()


def test_a_file_of_another_boot_is_not_believed_and_goes_away(
    ask: Callable[[], str], files: Callable[[], list[Path]]
) -> None:
    ask()
    (path,) = files()
    old = path.with_name("features-00000000")
    old.write_bytes(b"beewire features 1 00000000 3\nother")
    path.unlink()

    assert ask() == "yes 1"
    assert old not in files()


def test_a_directory_that_others_may_enter_is_not_used(
    ask: Callable[[], str], files: Callable[[], list[Path]], tmp_path: Path
) -> None:
    (tmp_path / "beewire").mkdir(mode=0o755)

    assert ask() == "yes 1"
    assert files() == []


def test_other_privileges_have_answers_of_their_own(
    python: Run, tmp_path: Path, files: Callable[[], list[Path]]
) -> None:
    told = python(
        "-c",
        "import os, ctypes\n"
        # PR_CAPBSET_DROP of CAP_SYS_TIME: it is gone after the next exec.
        "ctypes.CDLL(None).prctl(24, 25, 0, 0, 0)\n"
        f"os.execv({sys.executable!r}, ['python', '-c', {ASK!r}])",
        XDG_CACHE_HOME=str(tmp_path),
    )
    first = files()
    again = python("-c", ASK, XDG_CACHE_HOME=str(tmp_path))

    assert (told.stdout, again.stdout) == ("yes 1\n", "yes 1\n")
    assert (len(first), len(files())) == (1, 2)
