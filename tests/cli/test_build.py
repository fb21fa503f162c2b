"""`beewire build FILE` and `beewire dump FILE`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from beewire.bpf.object import read
from beewire.cli import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "exec_time.py"
PROGRAM = """
from beewire.bpf import Global, HashMap, Struct, XdpAction, XdpContext, array, u32, xdp

class Key(Struct):
    address: u32
    words: list[u32] = array(u32, 2)

seen = HashMap[Key, u32](max_entries=16)
limit = Global(u32, 7)

@xdp
def count(ctx: XdpContext) -> XdpAction:
    if limit.value > 3:
        seen[Key(address=1)] += 1
    return XdpAction.PASS
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "prog.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def built(source: Path) -> Path:
    output = source.with_suffix(".bpf.o")
    assert main(["build", str(source), "-o", str(output)]) == 0
    return output


def test_the_object_holds_programs_maps_and_globals(built: Path) -> None:
    spec = read(built.read_bytes())

    assert list(spec.programs) == ["count"]
    assert list(spec.maps) == ["seen"]
    assert [v.name for v in spec.sections[".data"].variables] == ["limit"]


def test_llvm_writes_an_object_with_the_same_maps_and_lines(
    source: Path, built: Path
) -> None:
    pytest.importorskip("llvmlite")
    output = source.with_suffix(".llvm.o")
    own = read(built.read_bytes()).programs["count"]

    assert main(["check", "--optimize=llvm", str(source)]) == 0
    assert main(["build", "--optimize=llvm", str(source), "-o", str(output)]) == 0
    made = read(output.read_bytes()).programs["count"]

    named = {(each.kind, each.symbol) for each in made.relocations}
    assert named == {(each.kind, each.symbol) for each in own.relocations}
    assert {line.line for line in made.lines} <= {line.line for line in own.lines}


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_the_same_source_gives_the_same_bytes(
    built: Path, tmp_path: Path, seed: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "prog.py").write_text(PROGRAM)

    subprocess.run(
        [sys.executable, "-m", "beewire", "build", "prog.py"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )

    assert (elsewhere / "prog.bpf.o").read_bytes() == built.read_bytes()


def test_source_files_are_named_as_seen_from_the_file(built: Path) -> None:
    lines = read(built.read_bytes()).programs["count"].lines

    assert {line.file for line in lines} == {"prog.py"}


@pytest.mark.skipif(shutil.which("bpftool") is None, reason="bpftool is not installed")
@pytest.mark.kernel
def test_bpftool_loads_it(built: Path) -> None:
    from beewire.bpf.kernel import ensure_bpffs  # noqa: PLC0415

    pin = f"{ensure_bpffs()}/bw-test-build-{os.getpid()}"
    try:
        subprocess.run(
            ["bpftool", "prog", "load", built, pin], check=True, capture_output=True
        )
    finally:
        Path(pin).unlink(missing_ok=True)


def test_a_failed_build_leaves_no_file(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write_text(PROGRAM.replace("> 3", "> 3.5"))

    assert main(["build", str(source), "-o", f"{source}.o"]) == 2

    assert "3.5 is a float [BW103]" in capsys.readouterr().err
    assert [each.name for each in source.parent.iterdir()] == ["prog.py"]


@pytest.mark.parametrize(
    ("output", "told"),
    [("missing/prog.o", "there is no directory"), (".", "is a directory")],
)
def test_a_place_that_cannot_be_written_is_told(
    source: Path, capsys: pytest.CaptureFixture[str], output: str, told: str
) -> None:
    assert main(["build", str(source), "-o", str(source.parent / output)]) == 2

    assert told in capsys.readouterr().err


def test_dump_shows_the_object(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()

    assert main(["dump", str(built)]) == 0

    out = capsys.readouterr().out
    assert "seen, HASH, key 12 bytes (struct Key), value 4 bytes" in out
    assert "0: unsigned int limit = 7" in out
    assert re.search(r"; prog\.py:13:\d+  if limit\.value > 3:\n", out)
    assert re.search(r"r\d = map\[fd:0\] +; map seen\n", out)
    assert "global .data" in out
    assert "struct Key {\n        unsigned int address;" in out


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("prog.py", "prog.py: this is no ELF file"),
        (".", "is a directory"),
        ("nothing", "No such file"),
    ],
)
def test_dump_says_what_is_wrong_with_a_file(
    source: Path, capsys: pytest.CaptureFixture[str], name: str, told: str
) -> None:
    assert main(["dump", str(source.parent / name)]) in {1, 2}

    assert told in capsys.readouterr().err


@pytest.mark.kernel
def test_dump_shows_a_program_in_the_kernel(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from beewire.bpf.kernel import load  # noqa: PLC0415

    capsys.readouterr()
    with load(read(built.read_bytes())) as loaded:
        program = loaded.programs["count"]
        assert main(["dump", "--program", str(program.info().id)]) == 0

    out = capsys.readouterr().out
    assert re.search(r"^map \d+ seen \(HASH\)$", out, re.MULTILINE)
    assert "program count (XDP): " in out
    assert "prog.py:13:" in out


@pytest.mark.kernel
def test_dump_of_a_program_that_is_not_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["dump", "--program", "4294967295"]) == 2

    assert "there is no program 4294967295" in capsys.readouterr().err
