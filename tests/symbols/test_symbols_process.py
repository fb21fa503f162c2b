import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.symbols import Frame, Images, Mapping, Mappings, PerfMap, Process
from beewire.symbols.mappings import parse
from beewire.symbols.perfmap import Whereabouts, read_perf_map, whereabouts

MAPS = """\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus daemon
00651000-00652000 r--p 00051000 08:02 173521      /usr/bin/dbus daemon
35b1a00000-35b1a20000 r-xp 00001000 fd:01 175522  /usr/lib/old.so (deleted)
7ffff7fc9000-7ffff7fcb000 r-xp 00000000 00:00 0   [vdso]
7f0000000000-7f0000010000 rwxp 00000000 00:00 0
rubbish
"""


def mapping(start: int, end: int, path: str = "") -> Mapping:
    return Mapping(start, end, 0, (0, 0), 0, path)


def test_executable_mappings_are_read() -> None:
    found = parse(MAPS.splitlines(keepends=True))

    assert found == [
        Mapping(0x400000, 0x452000, 0, (8, 2), 173521, "/usr/bin/dbus daemon"),
        Mapping(
            0x35B1A00000, 0x35B1A20000, 0x1000, (0xFD, 1), 175522, "/usr/lib/old.so"
        ),
        Mapping(0x7FFFF7FC9000, 0x7FFFF7FCB000, 0, (0, 0), 0, "[vdso]"),
        Mapping(0x7F0000000000, 0x7F0000010000, 0, (0, 0), 0, ""),
    ]


def test_what_is_mapped_later_lies_over_what_was_there() -> None:
    mappings = Mappings([mapping(0, 100, "old"), mapping(200, 300, "other")])

    mappings.add(mapping(40, 60, "new"))

    found = [mappings.find(address) for address in (0, 39, 40, 59, 60, 99, 100, 250)]
    names = [each.path if each else None for each in found]
    assert names == ["old", "old", "new", "new", "old", "old", None, "other"]


def test_mappings_that_are_covered_are_forgotten() -> None:
    mappings = Mappings([mapping(10, 20, "a"), mapping(30, 40, "b")])

    mappings.add(mapping(0, 50, "c"))

    assert [each.path for each in mappings] == ["c"]


def test_functions_of_a_compiler_are_found_and_later_ones_win() -> None:
    perf_map = PerfMap(
        b"7f00 10 first one\n7f10 8 second\r\nrubbish\n7f00 4 newer\n7f20 zz bad\n7f40 4"
    )

    found = [perf_map.find(address) for address in (0x7EFF, 0x7F00, 0x7F04, 0x7F10)]

    assert found == [None, "newer", None, "second"]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_map_with_what_can_be_read_of_it(content: bytes) -> None:
    PerfMap(content).find(5)


def test_a_map_of_another_user_is_not_believed() -> None:
    path = Path(f"/tmp/perf-{os.getpid()}.map")
    path.write_text("1000 10 f\n")
    try:
        if os.geteuid() == 0:
            os.chown(path, 12345, 12345)
        where = Whereabouts(os.getpid(), os.getpid(), 4711, at_home=True)
        mine = whereabouts(os.getpid())

        assert read_perf_map(where) is None
        assert mine is not None
        assert mine.user == os.geteuid()
    finally:
        path.unlink()


def test_code_of_a_compiler_in_the_process_has_the_names_of_its_map() -> None:
    path = Path(f"/tmp/perf-{os.getpid()}.map")
    path.write_text("1000 10 py::work:/srv/app.py\n")
    try:
        with Images() as images:
            frame = Process(os.getpid(), images).frame(0x1008)
    finally:
        path.unlink()

    assert frame == Frame("py::work:/srv/app.py", "[jit]", "jit")


def test_the_map_of_a_process_is_found_after_its_end() -> None:
    with subprocess.Popen(["sleep", "30"]) as process, Images() as images:
        found = Process(process.pid, images)
        path = Path(f"/tmp/perf-{process.pid}.map")
        path.write_text("1000 10 late\n")
        process.kill()
        process.wait()
        try:
            lives = found.refresh()
        finally:
            path.unlink()

    assert not lives
    assert found.frame(0x1000).name == "late"


def test_a_process_in_a_pid_namespace_is_asked_by_its_own_number(
    tmp_path: Path,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("a pid namespace needs root")
    del tmp_path
    script = "import os,sys; print(os.getpid(), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        ["unshare", "--pid", "--fork", sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as outer:
        assert outer.stdout is not None
        inner = int(outer.stdout.readline())
        [child] = (
            Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        )
        where = whereabouts(int(child))
        assert outer.stdin is not None
        outer.stdin.close()

    assert where is not None
    assert where.inner_pid == inner


@pytest.mark.parametrize(
    ("frame", "label"),
    [
        (Frame("f", "lib.so", "user"), "f"),
        (Frame("", "lib.so", "unknown"), "[lib.so]"),
        (Frame("", "[anon]", "unknown"), "[anon]"),
        (Frame("", "", "unknown"), "[unknown]"),
    ],
)
def test_a_frame_without_a_name_is_called_by_its_module(
    frame: Frame, label: str
) -> None:
    assert frame.label == label
