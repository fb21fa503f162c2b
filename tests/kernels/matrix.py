"""Boots a guest for each kernel, and runs one pytest in it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.kernels import expected
from tests.kernels.expected import Difference
from tests.kernels.results import FAILED, PASSED, SKIPPED, Results

CHECKOUT = Path(__file__).parent.parent.parent
PATHS = (
    *("tests/bpf/kernel", "tests/bpf/author"),
    "tests/examples/test_struct_ops_examples.py",
    "tests/mesh/qualify/test_qualify_kernel.py",
)
# Files whose tests would say the same under every kernel; a guest's time is dear.
HOST_ONLY = (
    *("test_kernel_btf_cache.py", "test_kernel_census.py", "test_kernel_fake_*.py"),
    *(
        "test_kernel_fault*.py",
        "test_kernel_feature_store.py",
        "test_kernel_inspect*.py",
    ),
    *("test_kernel_jited.py", "test_kernel_leaks.py", "test_kernel_map_models.py"),
    *("test_kernel_permission.py", "test_kernel_polic*.py", "test_kernel_privilege.py"),
    *("test_kernel_startup.py", "test_kernel_threads.py", "test_kernel_token.py"),
    *("test_kernel_huge.py", "test_kernel_numbers.py", "test_kernel_seam.py"),
    *("test_author_events.py", "test_author_map_examples.py"),
    *("test_author_alone.py", "test_author_*_docs.py", "test_author_implicit.py"),
    *("test_author_inspection.py", "test_author_kernel.py"),
    *("test_links_by_decorator.py", "test_links_left_behind.py"),
)
# Tests marked `host` say nothing of a kernel that another kernel would not say again.
SELECTED = "kernel and not host and not mesh"
# What tells little for its time: all tests take a guest without KVM a quarter of an hour.
QUICK = " and not thorough"
# A guest without KVM is twenty times as slow as what tests are given a minute for.
TEST_TIMEOUT_S = 600
GUEST_TIMEOUT_S, ALL_TIMEOUT_S = 1500, 7200
CPUS = 2

# The order tells nothing here, nothing that is cached outlives a guest, and tests of
# properties do without Hypothesis's reports.
_PYTEST = (
    *("pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"),
    *("-p", "no:hypothesispytest"),
)

Tell = Callable[[str], None]


@dataclass(slots=True)
class Run:
    """What happened under one kernel; `kernel` is what it is called in the matrix."""

    kernel: str
    release: str
    results: Results = field(default_factory=Results)
    seconds: float = 0.0
    exit_code: int = 0

    def summary(self) -> str:
        """One line about it."""
        counts = self.results.counts()
        told = ", ".join(f"{counts[each]} {each}" for each in (PASSED, SKIPPED, FAILED))
        return f"Linux {self.release}: {told} in {self.seconds:.0f} s"

    def difference(self) -> Difference:
        """How its skips differ from what the kernel's list has of the tests that ran."""
        listed = expected.read(expected.path(self.kernel))
        ran = {test.function for test in self.results.tests}
        return expected.compare(
            self.results.skips, {skip for skip in listed if skip[0] in ran}
        )

    def skips(self) -> set[expected.Skip]:
        """What the kernel's list is to be: of tests that did not run, what it has."""
        listed = expected.read(expected.path(self.kernel))
        ran = {test.function for test in self.results.tests}
        return self.results.skips | {skip for skip in listed if skip[0] not in ran}

    def faults(self) -> list[str]:
        """All that is wrong, one text each; empty where all is as it should be."""
        found = [f"{test.name}\n{test.reason}" for test in self.results.failures]
        if not self.results.is_complete:
            last = "\n".join(self.results.other[-20:])
            found.append(f"pytest did not end (exit code {self.exit_code})\n{last}")
        if not expected.path(self.kernel).exists():
            found.append(f"there is no list of its skips yet: {expected.REWRITE}")
            return found
        found += [
            f"{test} is skipped, which {expected.path(self.kernel).name} does not list:"
            f" {reason}"
            for test, reason in self.difference().unlisted
        ]
        return found


def run_all(
    releases: dict[str, str],
    *,
    jobs: int,
    tell: Tell,
    arguments: Sequence[str] = (),
    thorough: bool = False,
    log: Path | None = None,
) -> dict[str, Run]:
    """Run the tests under each kernel of `releases` ({name: release}), `jobs` at a time.

    `arguments` go to pytest; `thorough` is for all tests. `tell` is told of each kernel's end; what guests print is
    added to `log`/KERNEL.log as it comes.
    """
    compile_sources()
    with ThreadPoolExecutor(jobs) as pool, _guests(pool) as start:
        started = [
            pool.submit(
                _run,
                start,
                Run(kernel, release),
                command(release, arguments, thorough=thorough),
                log,
            )
            for kernel, release in releases.items()
        ]
        runs = {}
        for done in as_completed(started):
            run = done.result()
            runs[run.kernel] = run
            tell(run.summary())
    return {kernel: runs[kernel] for kernel in releases}


def compile_sources() -> None:
    """Write bytecode that is not there yet, asserts as pytest rewrites them included.

    What a guest compiles is gone with it, and takes it most of a minute.
    """
    for words in (
        ["compileall", "-q", "beewire"],
        [*_PYTEST, "--collect-only", *PATHS],
    ):
        subprocess.run(
            [sys.executable, "-m", *words],
            cwd=CHECKOUT,
            env=_environment(),
            stdout=subprocess.DEVNULL,
            check=False,
        )


def _environment() -> dict[str, str]:
    switches = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    return {name: text for name, text in os.environ.items() if name not in switches}


Start = Callable[[Sequence[str]], "subprocess.Popen[str]"]


@contextmanager
def _guests(pool: ThreadPoolExecutor) -> Iterator[Start]:
    # Every guest that was started ends with the block, whatever the block ends with;
    # and none begins after that.
    guests: list[subprocess.Popen[str]] = []

    def start(command: Sequence[str]) -> subprocess.Popen[str]:
        guest = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        guests.append(guest)
        return guest

    try:
        yield start
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for guest in guests:
            guest.terminate()
        raise


def _run(start: Start, run: Run, words: Sequence[str], log: Path | None) -> Run:
    began = time.monotonic()
    with start(words) as guest:
        assert guest.stdout is not None
        for line in guest.stdout:
            run.results.take(line.rstrip("\n"))
            if log is not None:
                with (log / f"{run.kernel}.log").open("a") as file:
                    file.write(line)
        run.exit_code = guest.wait()
    run.seconds = time.monotonic() - began
    return run


def command(
    release: str, arguments: Sequence[str], *, thorough: bool = False
) -> list[str]:
    """The command that boots a guest and runs pytest in it.

    `thorough` runs all tests; so does naming some, in `arguments`.
    """
    named = any("/" in each for each in arguments)
    limit = ALL_TIMEOUT_S if thorough else GUEST_TIMEOUT_S
    guest = [sys.executable, "-m", "beewire", "guest", "--kernel", release]
    guest += ["--timeout", str(limit), "--cpus", str(CPUS)]
    selected = SELECTED if thorough or named else SELECTED + QUICK
    pytest = [sys.executable, "-m", *_PYTEST, "-m", selected]
    pytest += [f"--timeout={TEST_TIMEOUT_S}", "-p", "tests.kernels.reporting"]
    pytest += [f"--ignore-glob=*/{name}" for name in HOST_ONLY]
    return [*guest, "--", *pytest, *arguments, *([] if named else PATHS)]


def usual_jobs() -> int:
    """How many guests at once: one for each core, as each keeps one busy."""
    return max(1, len(os.sched_getaffinity(0)))
