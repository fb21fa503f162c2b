"""What every test may use, and why a test is skipped.

`kernel` and `mesh` tests need root, and `mesh` tests the lab's programs. Where those are
missing they skip and name what is missing; BEEWIRE_REQUIRE_KERNEL=1 makes every such skip
a failure, for machines that are known to have it all.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from beewire.bpf.kernel import cgroup2_mount, privilege
from tests.cgroups import remove
from tests.netns import ip

CHECKOUT = Path(__file__).parent.parent
NEEDED = {
    "kernel": ("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"),
    "mesh": ("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"),
}

# No example has to be made or tried in a time: another process may have the processor.
hypothesis.settings.register_profile(
    "unhurried",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("unhurried")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine or user cannot run, before its fixtures start anything."""
    for marker, capabilities in NEEDED.items():
        if item.get_closest_marker(marker) is None:
            continue
        if lacking := privilege.missing(capabilities):
            pytest.skip(f"needs root: {', '.join(lacking)}")
    if item.get_closest_marker("mesh") and (absent := absent_programs()):
        pytest.skip(
            f"the lab needs {', '.join(absent)}: scripts/bootstrap installs them"
        )


def absent_programs() -> list[str]:
    """Those of the lab's needs that this machine does not have."""
    from beewire.cli.checks import installed  # noqa: PLC0415 - mesh tests only
    from beewire.mesh.lab.tools import INSTALL  # noqa: PLC0415

    return [name for name in INSTALL if not installed(name)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn skips of kernel and mesh tests into failures where that is asked for."""
    report = yield
    required = os.environ.get("BEEWIRE_REQUIRE_KERNEL") == "1"
    marked = any(item.get_closest_marker(name) for name in NEEDED)
    if required and marked and report.skipped and not hasattr(report, "wasxfail"):
        reason = (
            report.longrepr[2] if isinstance(report.longrepr, tuple) else "no reason"
        )
        report.outcome = "failed"
        report.longrepr = f"BEEWIRE_REQUIRE_KERNEL=1, but: {reason}"
    return report


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def python() -> Run:
    """Run Python code in a process of its own: `python("-c", "print(1)").stdout`."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=CHECKOUT,
            env={**os.environ, "NO_COLOR": "1", **environment},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    return run


@pytest.fixture
def beewire(python: Run) -> Run:
    """Run the `beewire` command: `beewire("doctor", "--json").returncode`."""
    return lambda *arguments, **environment: python(
        "-m", "beewire", *arguments, **environment
    )


@pytest.fixture
def netns() -> Iterator[str]:
    """The name of a network namespace of our own, with its loopback up."""
    name = f"bw-test-{os.getpid()}"
    ip("netns", "add", name)
    try:
        ip("link", "set", "lo", "up", netns=name)
        yield name
    finally:
        ip("netns", "del", name)


@pytest.fixture
def cgroup() -> Iterator[str]:
    """The path of a cgroup of our own."""
    mount = cgroup2_mount()
    if not mount:
        pytest.skip("cgroup2 is not mounted")
    path = Path(mount) / f"bw-test-{os.getpid()}"
    path.mkdir()
    yield str(path)
    remove(path)
