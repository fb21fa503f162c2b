"""Tools that read the events of one process, and the highest rate without loss."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from mmap import mmap
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import IO, NamedTuple, Self

PARTS = Path(__file__).parent / "events"
TRACEFS = Path("/sys/kernel/tracing")
SYSTEM_PYTHON = "/usr/bin/python3"  # BCC's module belongs to Debian's Python
THREADS = 4
EVENTS_PER_CALL = 32
BUFFER_BYTES = 2 << 20
COMMON = 50_000  # events a second that every tool takes
# From where nobody loses anything to where everybody does.
LADDER = [25_000 * 2**n for n in range(10)]
STEPS = 4  # of bisection: a sixteenth of an octave
SETTLE_S, READY_S = 0.3, 30.0
# bpftrace writes full blocks of text, so that some lines come with the next trial.
UNSEEN = 400


class Unavailable(Exception):  # noqa: N818 - a state, not a fault
    """A tool that does not run here; says why."""


class Rung(NamedTuple):
    """One trial: events a second that were offered, the share that was lost, CPU time.

    `reached`: the callers kept up with what they were asked for.
    """

    offered: float
    lost: float
    producer_us: float
    reader_us: float
    reached: bool


class Tool(NamedTuple):
    """A reader of events: its command line, given the caller's pid and a file to count in.

    Those that write text are counted by lines instead.
    """

    name: str
    command: Callable[[int, Path], list[str]]
    writes_text: bool = False


# --- the callers ---


class Caller:
    """A process whose threads call getppid() at a fixed rate."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bw-events-")
        self.folder = Path(self._folder.name)
        program = self.folder / "caller"
        source = PARTS / "caller.c"
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise Unavailable("there is no C compiler for the callers: install gcc")
        subprocess.run([compiler, "-O2", "-pthread", source, "-o", program], check=True)
        self._process = subprocess.Popen(
            [*pinned(callers=True), str(program), str(THREADS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self._base_us = 0.0

    def run(self, events: float, seconds: float) -> tuple[int, float, float]:
        """Offer so many events a second; (how many, seconds on the wall, seconds of CPU)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{events / EVENTS_PER_CALL} {seconds}\n")
        self._process.stdin.flush()
        calls, wall, cpu = map(int, self._process.stdout.readline().split())
        return calls * EVENTS_PER_CALL, wall / 1e9, cpu / 1e9

    def calibrate(self, seconds: float) -> None:
        """Find out what the calls cost while nobody traces them."""
        runs = [self.run(COMMON, seconds) for _ in range(3)]
        self._base_us = median(cpu / sent * 1e6 for sent, _, cpu in runs)

    def trial(self, reading: "Reading", rate: float, seconds: float) -> Rung:
        """Offer events at a rate, and see what becomes of them."""
        before, cpu_before = reading.count, reading.cpu_s
        sent, wall, cpu = self.run(rate, seconds)
        got = reading.settled() - before
        lost = sent - got
        if lost <= (UNSEEN if reading.writes_text else 0):
            lost = 0
        return Rung(
            sent / wall,
            lost / sent,
            cpu / sent * 1e6 - self._base_us,
            (reading.cpu_s - cpu_before) / max(got, 1) * 1e6,
            reached=sent / wall > 0.9 * rate,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


# --- the readers ---


class Reading:
    """A tool at work, from when its first events came."""

    def __init__(self, tool: Tool, caller: Caller) -> None:
        counter = caller.folder / "count"
        counter.write_bytes(bytes(8))
        self._complaints = (caller.folder / "stderr").open("w+b")
        self._lines = 0
        self.writes_text = tool.writes_text
        with counter.open("r+b") as file:
            self._counter = memoryview(mmap(file.fileno(), 8)).cast("Q")
        words = [*pinned(callers=False), *tool.command(caller.pid, counter)]
        command = [str(word) for word in words]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._complaints, env=environment()
        )
        assert self._process.stdout is not None
        count = threading.Thread(target=self._count_lines, args=(self._process.stdout,))
        count.daemon = True
        count.start()
        try:
            self._begin(tool, caller)
        except BaseException:
            self.close()
            raise

    def _begin(self, tool: Tool, caller: Caller) -> None:
        end = time.monotonic() + READY_S
        while not self.count:
            if self._process.poll() is not None or time.monotonic() > end:
                raise Unavailable(f"{tool.name} did not begin: {self._complaint()}")
            caller.run(COMMON / 10, 0.2)
        self.settled()

    def _complaint(self) -> str:
        """What the tool wrote last."""
        self._complaints.seek(0)
        said = self._complaints.read().decode("utf-8", "replace").strip().splitlines()
        return said[-1] if said else "it says nothing"

    def _count_lines(self, output: IO[bytes]) -> None:
        while block := os.read(output.fileno(), 1 << 20):
            self._lines += block.count(b"\n") - block.count(b"Lost ")

    @property
    def count(self) -> int:
        """How many events were read so far."""
        return self._lines if self.writes_text else self._counter[0]

    def settled(self) -> int:
        """`count`, once no more come."""
        last, since = self.count, time.monotonic()
        while time.monotonic() - since < SETTLE_S:
            time.sleep(SETTLE_S / 10)
            if self.count != last:
                last, since = self.count, time.monotonic()
        return last

    @property
    def cpu_s(self) -> float:
        """CPU time of the tool, to the nanosecond."""
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in threads) / 1e9

    def close(self) -> None:
        """End the tool, which detaches its program."""
        self._process.kill()
        self._process.wait()
        self._complaints.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def environment() -> dict[str, str]:
    """Ours, with what the tools read from theirs."""
    pages = BUFFER_BYTES // (os.cpu_count() or 1) // os.sysconf("SC_PAGE_SIZE")
    return os.environ | {"BPFTRACE_PERF_RB_PAGES": str(1 << pages.bit_length() - 1)}


def pinned(*, callers: bool) -> list[str]:
    """The beginning of a command line: readers have the first CPU to themselves."""
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        return []
    return ["taskset", "-c", ",".join(map(str, others if callers else [first]))]


def tools(folder: Path) -> list[Tool]:
    """Beewire in each of its ways, BCC and bpftrace; `folder` is for what they need."""
    return [
        Tool("beewire", lambda pid, count: beewire_command(pid, count, "numpy")),
        Tool("beewire.batch", lambda pid, count: beewire_command(pid, count, "batch")),
        Tool(
            "beewire.iterate", lambda pid, count: beewire_command(pid, count, "iterate")
        ),
        Tool("bcc", lambda pid, count: bcc_command(pid, count, folder)),
        Tool("bpftrace", bpftrace_command, writes_text=True),
    ]


def beewire_command(pid: int, count: Path, way: str) -> list[str]:
    """A reader of ours."""
    words = [str(pid), str(count), way, str(BUFFER_BYTES)]
    return [sys.executable, str(PARTS / "read_beewire.py"), *words]


def bpftrace_command(pid: int, _count: Path) -> list[str]:
    """bpftrace, whose printf() goes into a pipe."""
    found = shutil.which("bpftrace")
    if not found:
        raise Unavailable("bpftrace is not installed")
    return with_tracefs([found, "-B", "full", str(PARTS / "read.bt"), str(pid)])


def bcc_command(pid: int, count: Path, folder: Path) -> list[str]:
    """BCC's front-end, in Debian's Python."""
    if not list(Path("/usr/lib/python3/dist-packages").glob("bcc/__init__.py")):
        raise Unavailable("BCC is not installed")
    source = kernel_source(folder)
    words = [str(pid), str(count), str(BUFFER_BYTES)]
    command = [SYSTEM_PYTHON, "-I", str(PARTS / "read_bcc.py"), *words]
    return with_tracefs(
        ["env", *([f"BCC_KERNEL_SOURCE={source}"] if source else []), *command]
    )


def kernel_source(folder: Path) -> Path | None:
    """The headers for BCC; None where it finds those of the running kernel itself.

    Debian keeps them in two trees, of which BCC takes one: they are laid over one another
    by links. They are of Debian's kernel, which the events do not depend on.
    """
    given = os.environ.get("BCC_KERNEL_SOURCE")
    if given:
        return Path(given)
    if Path("/lib/modules", os.uname().release, "build").exists():
        return None
    merged = folder / "headers"
    if merged.exists():
        return merged
    for common in sorted(Path("/usr/src").glob("linux-headers-*-common")):
        version = re.escape(common.name.removesuffix("-common"))
        for own in sorted(common.parent.iterdir()):
            if re.fullmatch(f"{version}-(amd64|arm64)", own.name):
                for tree in (common, own):
                    subprocess.run(["cp", "-rsf", f"{tree}/.", merged], check=True)
                return merged
    raise Unavailable(
        "BCC needs kernel headers, and there are none for this kernel, nor Debian's in "
        "/usr/src (BCC_KERNEL_SOURCE may name another place)"
    )


def with_tracefs(command: list[str]) -> list[str]:
    """The command where tracefs is mounted, if need be for it alone."""
    if (TRACEFS / "events").is_dir():
        return command
    script = f'mount -t tracefs tracefs {TRACEFS} && exec "$@"'
    return ["unshare", "-m", "sh", "-c", script, "sh", *command]


# --- the highest rate ---


def climb(caller: Caller, reading: Reading, seconds: float) -> list[Rung]:
    """Trials at every load of the ladder, up to what the callers can offer."""
    rungs: list[Rung] = []
    for rate in LADDER:
        rungs.append(caller.trial(reading, rate, seconds))
        if not rungs[-1].reached:
            break
    return rungs


def highest(
    caller: Caller, reading: Reading, rungs: list[Rung], seconds: float
) -> Rung:
    """The highest load without loss: between two rungs of the ladder, by bisection.

    A rate counts if one of two trials loses nothing: other work on the machine may cost
    the first.
    """
    best = max((r for r in rungs if not r.lost), default=Rung(0, 0, 0, 0, reached=True))
    low = best.offered or LADDER[0] / 2
    high = next((r.offered for r in rungs if r.lost and r.offered > low), 2 * low)
    for _ in range(STEPS if best.reached else 0):
        rate = (low * high) ** 0.5
        trials = [caller.trial(reading, rate, seconds)]
        if trials[0].lost:
            trials.append(caller.trial(reading, rate, seconds))
        if trials[-1].lost:
            high = rate
            continue
        low = rate
        best = max(best, trials[-1])
        if not trials[-1].reached:
            break
    return best
