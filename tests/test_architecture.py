"""What always holds about the project as a whole. ARCHITECTURE.md says it in words."""

import importlib
import pkgutil
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import beewire as package
from beewire.bpf.lang import builder, loops
from beewire.bpf.lang import call_expressions as calls

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
# What examples/exec_time.py has none of: each module is 0.1 ms of its start, or more.
NOT_NEEDED = """
lang.bodies lang.inline lang.loops lang.rounds lang.iteration lang.matches
lang.sequences lang.packet_calls lang.packet_memory lang.network_calls
lang.python_calls lang.printk lang.atomics lang.subprograms lang.callbacks
lang.tail_calls lang.scratch lang.unions lang.parameters lang.socket_contexts lang.core_calls
lang.seq_calls lang.symbol_calls lang.maps.queues lang.maps.walks codegen.outline
codegen.scratch codegen.blend codegen.invariant codegen.bound codegen.words
codegen.veil codegen.divide codegen.scale kernel.pins kernel.ksyms kernel.struct_ops
kernel.perf author.per_cpu
"""
MOST_MODULES = 150
PROGRAM = """
from beewire.bpf import HashMap, Tracepoint, current_tgid, ktime_ns, tracepoint, u32, u64

started = HashMap[u32, u64](max_entries=64)

@tracepoint("sched:sched_process_exec")
def on_exec(ctx: Tracepoint) -> None:
    started[current_tgid()] = ktime_ns()
"""
TARGETS = (
    "setup",
    "demo",
    "test",
    "fuzz",
    "check",
    "format",
    "tables",
    "bench",
    "docs",
    "clean",
)


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
def test_attaching_an_example_imports_only_what_it_needs(
    loaded_by: Callable[[str], set[str]],
) -> None:
    loaded = loaded_by(
        f"import sys; sys.path.insert(0, {str(CHECKOUT / 'examples')!r})\n"
        "import exec_time as e; e.on_exec.attach().close(); e.on_exit.attach().close()"
    )

    others = {f"beewire.bpf.{name}" for name in NOT_NEEDED.split()}
    assert loaded & others == set()
    assert len([name for name in loaded if name.startswith("beewire")]) <= MOST_MODULES


def test_every_construct_that_is_met_late_is_lowered_by_its_module() -> None:
    tables: tuple[Mapping[Any, Any], ...] = (
        *(builder.STATEMENTS, builder.CONDITIONS, loops.EACH),
        *(calls.BY_NAME, calls.PYTHON, calls.CONTEXT_METHODS),
    )
    for construct, name in builder.LATE.items():
        home = f"beewire.bpf.lang.{name}"
        importlib.import_module(home)
        found = [table[construct] for table in tables if construct in table]
        assert [handler.__module__ for handler in found] == [home], construct


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


# The way out of Python: what each may use beside `syscall.System`, and why.
OUTSIDE_THE_SEAM = {
    "syscall.py",  # it is the seam
    "btf_cache.py",  # files of its own
    "log_buffer.py",  # memory that is nobody's
    "token.py",  # which syscall.py imports
    "rules.py",  # policies: files, read before anything is asked of bpf(2)
    "audit.py",
    "append.py",
    "signature.py",
}
WAYS_OUT = re.compile(
    r"\bos\.(open|dup|read|write)\(|\bmmap\.mmap\(|\bselect\.epoll\(\)|"
    r"\bsocket\.socket\("
)


def test_the_kernel_room_asks_the_kernel_through_one_object() -> None:
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted((CHECKOUT / "beewire/bpf/kernel").rglob("*.py"))
        if path.name not in OUTSIDE_THE_SEAM
        for line in path.read_text().splitlines()
        if WAYS_OUT.search(line)
    ]

    assert found == []
