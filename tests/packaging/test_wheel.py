"""The wheel: pure Python, small, and enough by itself for the examples."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Attaches every program of an example, and leaves: its loop waits for a person.
ATTACH = """
import importlib.util, sys
from contextlib import ExitStack
spec = importlib.util.spec_from_file_location("example", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["example"] = module
spec.loader.exec_module(module)
from beewire.bpf.author import Program
programs = [p for p in vars(module).values() if isinstance(p, Program)]
with ExitStack() as stack:
    for program in programs:
        stack.enter_context(program.attach(*(["lo"] if program.takes else [])))
import beewire
print(len(programs), beewire.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    subprocess.run(
        [*command, "-d", directory], cwd=ROOT, check=True, capture_output=True
    )
    [built] = directory.iterdir()
    return built


@pytest.fixture(scope="module")
def empty(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and nothing else."""
    directory = tmp_path_factory.mktemp("environment")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", directory], check=True
    )
    [packages] = directory.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    return directory / "bin" / "python"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_the_wheel_is_pure_and_small(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size <= 2_000_000


def test_the_wheel_says_that_it_is_typed(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert "beewire/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")))
def test_the_examples_compile_with_the_wheel_alone(
    empty: Path, example: Path, tmp_path: Path
) -> None:
    done = run(empty, "-m", "beewire", "check", example, cwd=tmp_path)

    assert done.returncode == 0, done.stderr


@pytest.mark.kernel
def test_an_example_runs_with_the_wheel_alone(empty: Path, tmp_path: Path) -> None:
    example = ROOT / "examples" / "exec_time.py"

    done = run(empty, "-c", ATTACH, example, cwd=tmp_path)

    assert done.stdout.startswith("2 "), done.stderr
    assert str(empty.parent.parent) in done.stdout
