"""Where programs may come from: standard input, `-c`, the interpreter, a zip file."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
from beewire.bpf import XdpAction, XdpContext, xdp

@xdp
def drop(ctx: XdpContext) -> XdpAction:
    return XdpAction.DROP

"""
SHOW = PROGRAM + "print(len(drop.spec().insns))\n"
REFUSED = "CompileError: the source of 'drop' cannot be found [BW106]"


def run(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        input=text,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", [("-",), ("-i",)], ids=["stdin", "interpreter"])
def test_what_python_keeps_no_source_of_is_refused(command: tuple[str, ...]) -> None:
    assert REFUSED in run(*command, text=SHOW).stderr


def test_the_text_of_dash_c_is_refused() -> None:
    assert REFUSED in run("-c", SHOW).stderr


@pytest.mark.parametrize("command", ["check", "build"])
def test_the_command_reads_standard_input(command: str, tmp_path: Path) -> None:
    options = ["-o", str(tmp_path / "drop.bpf.o")] if command == "build" else []

    done = run("-m", "beewire", command, "-", *options, text=PROGRAM)

    assert done.returncode == 0, done.stderr


def test_an_application_in_a_zip_file_works(tmp_path: Path) -> None:
    archive = tmp_path / "app.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("programs.py", PROGRAM)
        file.writestr(
            "__main__.py",
            PROGRAM.replace("drop", "other")
            + (
                "import programs\n"
                "print(len(other.spec().insns), len(programs.drop.spec().insns))\n"
            ),
        )

    done = run(str(archive))

    assert done.stdout.split() == ["2", "2"], done.stderr
