"""Real processes, profiled by the command that a person types."""

import gc
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beewire.bpf.kernel.task_events import Executed, Forked, Mapped, TaskEvents
from beewire.symbols import Symbolizer
from beewire.trace.profile import Options, Profile, Recorder, resolve, unwind_fault
from tests.cgroups import remove

pytestmark = pytest.mark.kernel

PATIENCE_S, ROUNDS = 60.0, 25
Run = Callable[..., subprocess.CompletedProcess[str]]

SOURCE = """
#include <pthread.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static volatile unsigned long sum;

__attribute__((noinline)) void busy_leaf(void) { for (int i = 0; i < 10000; i++) sum += i; }
__attribute__((noinline)) void busy_caller(void) { for (int i = 0; i < 100; i++) busy_leaf(); sum++; }
__attribute__((noinline)) void sleepy(void) { usleep(20000); sum++; }

static void *worker(void *arg)
{
    prctl(PR_SET_NAME, "bw-worker");
    for (;;) { busy_caller(); sleepy(); }
    return arg;
}

int main(int count, char **arguments)
{
    if (count > 1) {
        struct timespec now, end;
        clock_gettime(CLOCK_MONOTONIC, &end);
        do { busy_caller(); clock_gettime(CLOCK_MONOTONIC, &now); } while (now.tv_sec - end.tv_sec < 1);
        return 0;
    }
    pthread_t thread;
    pthread_create(&thread, 0, worker, 0);
    puts("ready");
    fflush(stdout);
    getchar();
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program whose thread works, and sleeps, in functions that are known."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler is installed")
    folder = tmp_path_factory.mktemp("busy")
    (folder / "bw-busy.c").write_text(SOURCE)
    command = f"{compiler} -O0 -fno-omit-frame-pointer -pthread -o bw-busy bw-busy.c"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder / "bw-busy"


@pytest.fixture
def busy(program: Path) -> Iterator[int]:
    """Such a process."""
    with subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def rounds(pid: int) -> int:
    """How often the threads of a process have gone to sleep."""
    found = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        (line,) = [
            each
            for each in status.read_text().splitlines()
            if each.startswith("voluntary_ctxt_switches:")
        ]
        found += int(line.split()[1])
    return found


def profiled(options: Options, busy: int) -> Profile:
    """What is seen of the busy process while it works and sleeps some twenty times."""
    deadline = time.monotonic() + PATIENCE_S
    with Symbolizer() as symbols, Recorder(options, symbols) as recorder:
        last = rounds(busy) + ROUNDS
        while rounds(busy) < last:
            assert time.monotonic() < deadline, "the process does not get on"
            recorder.wait(0.1)
        return resolve(recorder.finish(), symbols)


def lines(profile: Profile) -> list[str]:
    return [";".join(frame.label for frame in stack) for stack in profile.stacks]


def test_a_busy_process_is_found_in_its_function_by_its_callers(busy: int) -> None:
    profile = profiled(Options(pids=(busy,), frequency=499), busy)

    found = [line for line in lines(profile) if "busy_caller;busy_leaf" in line]
    assert found
    assert all(line.startswith("bw-busy;bw-worker;") for line in found)
    assert all(line.startswith("bw-busy") for line in lines(profile))
    assert profile.recording.lost == 0


def test_time_asleep_is_found_in_the_function_that_slept(busy: int) -> None:
    profile = profiled(Options(pids=(busy,), off_cpu=True), busy)

    asleep = {
        stack: ns
        for stack, ns in profile.stacks.items()
        if any("nanosleep" in frame.name for frame in stack)
    }
    assert sum(asleep.values()) > 20_000_000
    assert all(stack[1].label == "bw-worker" for stack in asleep)


@pytest.mark.skipif(bool(unwind_fault()), reason="no stacks by unwind tables here")
def test_waits_have_their_callers_by_unwind_tables(busy: int) -> None:
    options = Options(pids=(busy,), off_cpu=True, unwind=True, least_us=1000)
    profile = profiled(options, busy)

    asleep = [line for line in lines(profile) if "nanosleep" in line]
    assert any(";start_thread;worker;sleepy;usleep;" in line for line in asleep)
    assert profile.total > 20_000_000


def test_a_thread_that_never_went_on_is_seen_to_wait(busy: int) -> None:
    del busy
    with subprocess.Popen(
        ["sh", "-c", "read -r go; exec sleep 300"], stdin=subprocess.PIPE
    ) as shell:
        options = Options(pids=(shell.pid,), off_cpu=True)
        with Symbolizer() as symbols, Recorder(options, symbols) as recorder:
            assert shell.stdin is not None
            shell.stdin.write(b"\n")
            shell.stdin.flush()
            comm = Path(f"/proc/{shell.pid}/comm")
            deadline = time.monotonic() + PATIENCE_S
            while comm.read_text() != "sleep\n":
                assert time.monotonic() < deadline, "sleep does not begin"
                recorder.wait(0.05)
            recorder.wait(0.4)
            profile = resolve(recorder.finish(), symbols)
        shell.kill()

    assert profile.total > 100_000_000


@pytest.mark.parametrize("side", ["kernel", "user"])
def test_one_side_of_the_stacks_may_be_left_out(busy: int, side: str) -> None:
    options = Options(pids=(busy,), off_cpu=True, **{side: False})  # type: ignore[arg-type]

    kinds = {frame.kind for stack in profiled(options, busy).stacks for frame in stack}

    assert side not in kinds


def test_a_cgroup_is_looked_at_alone(busy: int) -> None:
    mount = Path("/sys/fs/cgroup/unified")
    root = mount if mount.is_dir() else Path("/sys/fs/cgroup")
    if not (root / "cgroup.controllers").exists():
        pytest.skip("no cgroup2 is mounted")
    group = root / f"bw-profile-{os.getpid()}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(busy))
        profile = profiled(Options(cgroup=str(group), frequency=499), busy)
        (root / "cgroup.procs").write_text(str(busy))
    finally:
        remove(group)

    assert {stack[0].label for stack in profile.stacks} == {"bw-busy"}


def test_a_process_that_ended_keeps_its_names(program: Path) -> None:
    options = Options(frequency=999)

    with Symbolizer() as symbols, Recorder(options, symbols) as recorder:
        process = subprocess.run([program, "once"], check=True)
        recorder.wait(0.2)
        profile = resolve(recorder.finish(), symbols)

    del process
    assert any("busy_caller;busy_leaf" in line for line in lines(profile))


def test_what_processes_map_is_told_as_it_happens() -> None:
    with TaskEvents() as events:
        child = subprocess.Popen([sys.executable, "-c", "pass"])
        child.wait()
        found = [event for event in events.read() if event.pid == child.pid]

    assert any(isinstance(event, Forked) for event in found)
    assert any(isinstance(event, Executed) for event in found)
    paths = {event.path for event in found if isinstance(event, Mapped)}
    assert any("libc" in path for path in paths)


def test_a_command_is_profiled_until_it_ends(
    beewire: Run, program: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.html"

    told = beewire("profile", "--frequency", "499", "-o", target, "--", program, "once")

    assert told.returncode == 0, told.stderr
    assert "busy_leaf" in target.read_text()
    assert "samples in" in told.stderr


def test_a_process_is_looked_at_until_it_ends(program: Path) -> None:
    script = f"read -r go; exec {program} once"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE) as process:
        arguments = ["profile", "-p", str(process.pid), "--seconds", "50"]
        with subprocess.Popen(
            [sys.executable, "-m", "beewire", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as profiler:
            assert profiler.stderr is not None
            began = profiler.stderr.readline()
            process.communicate(b"\n")
            folded, _ = profiler.communicate()

    assert "sampling at 99 Hz" in began
    assert "busy_leaf" in folded
    assert profiler.returncode == 0


def test_folded_text_goes_to_standard_output(beewire: Run, busy: int) -> None:
    told = beewire("profile", "-p", str(busy), "--seconds", "0.5", "--frequency", "499")

    assert told.returncode == 0, told.stderr
    assert "busy_caller;busy_leaf " in told.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.png"], "ends in none of .svg, .html, .folded"),
        (["-o", "/nowhere/x.svg"], "there is no directory /nowhere"),
        (["-p", "999999999"], "there is no process 999999999"),
        (["--frequency", "0"], "0 is not from 1 to 10000"),
        (["--cgroup", "/nowhere", "--seconds", "1"], "cannot open cgroup /nowhere"),
        (["-p", str(os.getpid()), "--", "true"], "have no use with a COMMAND"),
        (["--", "/nowhere/at/all"], "cannot execute /nowhere/at/all: No such file"),
    ],
)
def test_what_cannot_be_profiled_is_refused_with_a_sentence(
    beewire: Run, arguments: list[str], message: str
) -> None:
    told = beewire("profile", *arguments)

    assert told.returncode in {1, 2}
    assert message in told.stderr
    assert "Traceback" not in told.stderr


def test_nothing_is_left_attached(busy: int) -> None:
    gc.collect()
    before = set(Path("/proc/self/fd").iterdir())

    profiled(Options(pids=(busy,)), busy)

    assert len(set(Path("/proc/self/fd").iterdir())) == len(before)


RECURSIVE = """
#include <stdlib.h>
static volatile unsigned long sum;
static int order(const void *a, const void *b)
{
    for (int i = 0; i < 300; i++) sum += i;
    return *(const int *)a - *(const int *)b;
}
__attribute__((noinline)) void sorter(void)
{
    int values[64];
    for (int i = 0; i < 64; i++) values[i] = rand();
    qsort(values, 64, sizeof *values, order);
    sum++;
}
__attribute__((noinline)) void deeper(int n) { if (n) deeper(n - 1); else sorter(); sum++; }
int main(void) { for (int i = 0; i < 3000; i++) deeper(20); return 0; }
"""


@pytest.mark.skipif(bool(unwind_fault()), reason="no stacks by unwind tables here")
def test_callers_are_found_without_frame_pointers(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler is installed")
    (tmp_path / "bw-deep.c").write_text(RECURSIVE)
    flags = "-O2 -fomit-frame-pointer -fno-optimize-sibling-calls"
    command = f"{compiler} {flags} -o bw-deep bw-deep.c"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)

    options = Options(frequency=499, unwind=True)
    with Symbolizer() as symbols, Recorder(options, symbols) as recorder:
        with subprocess.Popen([tmp_path / "bw-deep"]) as process:
            ended = os.pidfd_open(process.pid)
            recorder.wait(10, [ended])
            os.close(ended)
        profile = resolve(recorder.finish(), symbols)

    # order is called by qsort, in the C library, which is called by ours.
    found = [line for line in lines(profile) if line.endswith(";order")]
    assert found
    assert any(";main;" + "deeper;" * 21 + "sorter;qsort" in line for line in found)
