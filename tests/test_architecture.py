"""What always holds about the project as a whole. ARCHITECTURE.md says it in words."""

import importlib
import pkgutil
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import beewire as package

Run = Callable[..., subprocess.CompletedProcess[str]]

CHECKOUT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for folder in ("beewire", "tests", "benchmarks", "examples", "scripts")
    for path in (CHECKOUT / folder).rglob("*.py")
)
PACKAGES = sorted(
    name
    for _, name, is_package in pkgutil.walk_packages(package.__path__, "beewire.")
    if is_package
)
HEAVY = (
    *("dataclasses", "inspect", "asyncio", "logging", "argparse", "pathlib"),
    *("typing", "ast", "re", "enum", "contextlib", "functools", "collections"),
)
PROGRAM = """
from beewire.bpf import HashMap, Tracepoint, current_tgid, ktime_ns, tracepoint, u32, u64

started = HashMap[u32, u64](max_entries=64)

@tracepoint("sched:sched_process_exec")
def on_exec(ctx: Tracepoint) -> None:
    started[current_tgid()] = ktime_ns()
"""
TARGETS = ("setup", "demo", "test", "fuzz", "check", "format", "bench", "docs", "clean")


def test_no_file_is_longer_than_600_lines() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in SOURCES}

    assert {name: count for name, count in lengths.items() if count > 600} == {}


@pytest.mark.parametrize("name", PACKAGES)
def test_every_name_in_all_exists(name: str) -> None:
    module = importlib.import_module(name)

    public = getattr(module, "__all__", ())

    assert [entry for entry in public if not hasattr(module, entry)] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_says_what_it_is(name: str) -> None:
    assert importlib.import_module(name).__doc__


@pytest.fixture
def loaded_by(python: Run) -> Callable[[str], set[str]]:
    """The modules that a process has after running some code."""

    def run(code: str) -> set[str]:
        # -S: site imports whatever a .pth of the environment asks for.
        told = python("-S", "-c", f"{code}\nimport sys; print(*sys.modules)")
        assert told.returncode == 0, told.stderr
        return set(told.stdout.split())

    return run


def test_importing_the_toolkit_imports_none_of_its_rooms(
    loaded_by: Callable[[str], set[str]],
) -> None:
    loaded = loaded_by("import beewire.bpf")

    assert [name for name in loaded if name.startswith("beewire.bpf.")] == []


def test_declaring_a_program_imports_nothing_heavy_and_no_compiler(
    loaded_by: Callable[[str], set[str]],
) -> None:
    loaded = loaded_by("from beewire.bpf import HashMap, RingBuf, Struct, tracepoint")

    assert loaded.isdisjoint({*HEAVY, "beewire.bpf.codegen"})


@pytest.mark.kernel
def test_attaching_a_program_imports_nothing_heavy(
    loaded_by: Callable[[str], set[str]], tmp_path: Path
) -> None:
    (tmp_path / "prog.py").write_text(PROGRAM)

    loaded = loaded_by(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import prog; prog.on_exec.attach().close()"
    )

    assert loaded.isdisjoint(HEAVY)


def make(*words: str) -> str:
    told = subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout


def test_make_help_lists_every_target() -> None:
    told = make("help")

    assert [name for name in TARGETS if f"make {name}" not in told] == []


def test_make_alone_is_make_help() -> None:
    assert make() == make("help")


def test_continuous_integration_checks_and_tests() -> None:
    script = CHECKOUT / ".ci" / "run"

    assert script.stat().st_mode & 0o111
    assert {"make check", "make test"} <= set(script.read_text().splitlines())


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_that_a_page_names_exists(page: str) -> None:
    told = set(re.findall(r"\bmake ([a-z]+)", (CHECKOUT / page).read_text()))
    rules = set(
        re.findall(r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    )

    assert told <= rules


def test_the_licence_is_apache_2() -> None:
    text = (CHECKOUT / "LICENSE").read_text()

    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
