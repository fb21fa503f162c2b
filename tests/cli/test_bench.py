"""`beewire bench`."""

import subprocess
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]

CHECKOUT = Path(__file__).parents[2]


def test_without_a_name_it_lists_every_benchmark_and_its_question(beewire: Run) -> None:
    told = beewire("bench")

    assert told.returncode == 0
    names = [line.split()[0] for line in told.stdout.splitlines()]
    files = [path.stem for path in (CHECKOUT / "benchmarks").glob("[!_]*.py")]
    assert sorted(files) == names
    assert all(len(line.split()) > 1 for line in told.stdout.splitlines())


def test_a_benchmark_that_does_not_exist_is_a_usage_error(beewire: Run) -> None:
    told = beewire("bench", "absent")

    assert told.returncode == 2
    assert "there is no benchmark 'absent'; there are: " in told.stderr


def test_an_installed_wheel_says_that_it_has_no_benchmarks(
    python: Run, tmp_path: Path
) -> None:
    # What a wheel installs is the package folder, and no checkout around it.
    (tmp_path / "beewire").symlink_to(CHECKOUT / "beewire")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['beewire', 'bench']; from beewire.cli import main; sys.exit(main())"

    told = python("-I", "-c", code)

    assert told.returncode == 2
    assert told.stderr.count("\n") == 1
    assert "part of a checkout" in told.stderr


def test_a_file_that_cannot_be_written_is_refused_before_measuring(
    beewire: Run,
) -> None:
    told = beewire("bench", "startup", "--json", "/does/not/exist.json")

    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == "beewire: /does/not/exist.json cannot be written\n"
