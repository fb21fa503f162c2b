"""Commands that run in real guests: their output, their end, and what is left of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.guest.needs import CHECKOUT, kernel_release

KERNEL = "6.12"
# TCG on a busy machine: a boot takes five seconds, or fifty.
pytestmark = pytest.mark.timeout(1200)

Guest = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def release() -> str:
    return kernel_release(KERNEL)


@pytest.fixture
def guest(release: str) -> Guest:
    """Run a command in a guest: `guest("uname", "-r").stdout`."""

    def run(
        *words: str, options: tuple[str, ...] = (), stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*beewire(release), *options, "--", *words],
            cwd=CHECKOUT,
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def beewire(release: str) -> list[str]:
    return [sys.executable, "-m", "beewire", "guest", "--kernel", release]


def test_a_command_runs_under_the_other_kernel(guest: Guest, release: str) -> None:
    ran = guest("uname", "-r")

    assert (ran.stdout, ran.stderr, ran.returncode) == (f"{release}\n", "", 0)


def test_output_errors_exit_code_and_input_pass_through(guest: Guest) -> None:
    script = "wc -c; pwd; echo $0 $1; echo bad >&2; exit 7"
    ran = guest("sh", "-c", script, "it's", "two words", stdin="x" * 300_000)

    assert ran.stdout == f"300000\n{CHECKOUT}\nit's two words\n"
    assert ran.stderr == "bad\n"
    assert ran.returncode == 7


def test_what_a_guest_writes_is_gone_with_it(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")

    ran = guest("sh", "-c", f"cd {tmp_path}; echo after >file; cat file; rm file")

    assert ran.stdout == "after\n"
    assert (tmp_path / "file").read_text() == "before"


def test_bpf_works_there(guest: Guest) -> None:
    code = (
        "from beewire.bpf.kernel import features; from beewire.bpf.object import MapKind;"
        "print(features.map_type(MapKind.RINGBUF).available)"
    )
    ran = guest(sys.executable, "-c", code)

    assert (ran.stdout, ran.stderr) == ("True\n", "")


def test_a_command_that_is_not_there_gives_127(guest: Guest) -> None:
    ran = guest("bw-no-such-command")

    assert ran.returncode == 127
    assert "bw-no-such-command" in ran.stderr


def test_a_command_that_takes_too_long_gives_124(guest: Guest) -> None:
    ran = guest("sh", "-c", "echo begun; sleep 1000", options=("--timeout", "10"))

    assert ran.returncode == 124
    assert ran.stdout == "begun\n"
    assert ran.stderr == "beewire: sh did not end in 10 s\n"


def test_a_kernel_that_panics_is_told(guest: Guest) -> None:
    ran = guest("sh", "-c", "echo c >/proc/sysrq-trigger")

    assert ran.returncode == 125
    assert ran.stderr.startswith("beewire: the guest died: Kernel panic")


def test_modules_are_loaded_when_asked_for(guest: Guest) -> None:
    ran = guest("cat", "/proc/modules", options=("--module", "tls"))

    assert any(line.startswith("tls ") for line in ran.stdout.splitlines())


REWRITING = """
mount -t tracefs none /sys/kernel/tracing
cd /sys/kernel/tracing/events
(while :; do echo; done | cat > /dev/null) &
for each in $(seq 60); do
  for switch in 1 0; do echo $switch > sched/sched_switch/enable; done
done
kill $!
echo lived
"""


def test_a_kernel_may_rewrite_what_another_processor_runs(guest: Guest) -> None:
    ran = guest("sh", "-c", REWRITING, options=("--cpus", "2"))

    assert (ran.stdout, ran.returncode) == ("lived\n", 0)


@pytest.fixture
def sleeping(release: str) -> Iterator[subprocess.Popen[str]]:
    """A guest whose command has begun, and does not end."""
    process = subprocess.Popen(
        [*beewire(release), "--", "sh", "-c", "echo begun; sleep 1000"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def children(pid: int) -> list[int]:
    """The processes that `pid` started, as far as they live."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in listed.split()]


def are_gone(pids: list[int]) -> bool:
    """Whether none of `pids` lives; waits for it a while."""
    for _ in range(1200):
        if not any(is_alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("signum", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_no_process_outlives_the_command(
    sleeping: subprocess.Popen[str], signum: signal.Signals, code: int
) -> None:
    started = children(sleeping.pid)

    os.kill(sleeping.pid, signum)

    assert sleeping.wait() == code
    assert started
    assert are_gone(started)
