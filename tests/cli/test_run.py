"""`beewire run FILE.py`."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
Write = Callable[[str], str]

IMPORTS = """\
from beewire.bpf import (
    HashMap, RingBuf, SockAddr, Struct, Tracepoint, chars, connect4, current_comm,
    current_tgid, printk, tracepoint, u32, u64,
)
"""
COUNTS = (
    IMPORTS
    + """
class Command(Struct):
    name: str = chars(16)

runs = HashMap[Command, u64](max_entries=1024)

@tracepoint("sched:sched_process_exec")
def on_exec(ctx: Tracepoint) -> None:
    runs[Command(name=current_comm())] += 1
"""
)
EVENTS = (
    IMPORTS
    + """
class Started(Struct):
    pid: u32
    name: str = chars(16)

started = RingBuf[Started](size=1 << 16)

@tracepoint("sched:sched_process_exec")
def on_exec(ctx: Tracepoint) -> None:
    with started.reserve() as event:
        if event is not None:
            event.pid, event.name = current_tgid(), current_comm()
"""
)
SAMPLES = """
from beewire.bpf import PerfEventArray, Struct, Tracepoint, tracepoint, u64

class Sample(Struct):
    number: u64

samples = PerfEventArray[Sample]()

@tracepoint("sched:sched_switch")
def on_switch(ctx: Tracepoint) -> None:
    samples.output(ctx, Sample(number=7))
"""
FLOOD = """
from beewire.bpf import RingBuf, Tracepoint, tracepoint, u64

numbers = RingBuf[u64](size=4096)

@tracepoint("sched:sched_switch")
def on_switch(ctx: Tracepoint) -> None:
    for number in range(1000):
        numbers.emit(number)
"""
CONNECTS = (
    IMPORTS
    + """
dialled = HashMap[u32, u64](max_entries=16)

@connect4
def on_connect(ctx: SockAddr) -> None:
    dialled[ctx.user_ip4] += 1
"""
)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(source: str) -> str:
        path = tmp_path / "prog.py"
        path.write_text(source)
        return str(path)

    return write_file


@pytest.fixture
def programs_start() -> Iterator[None]:
    """Something executes `true` all the time."""
    loop = subprocess.Popen(["/bin/sh", "-c", "while sleep 0.02; do /bin/true; done"])
    yield
    loop.kill()
    loop.wait()


def test_a_file_that_is_not_there_is_a_usage_error(beewire: Run) -> None:
    told = beewire("run", "absent.py")

    assert told.returncode == 2
    assert told.stderr.startswith("beewire: there is no file ")


def test_a_directory_is_a_usage_error(beewire: Run, tmp_path: Path) -> None:
    told = beewire("run", str(tmp_path))

    assert told.returncode == 2
    assert "is a directory" in told.stderr


def test_bytes_that_are_no_text_are_told_with_the_name_of_the_file(
    beewire: Run, write: Write
) -> None:
    told = beewire("run", write("x = 1\n\0"))

    assert told.returncode == 2
    assert "prog.py" in told.stderr
    assert "null bytes" in told.stderr


def test_a_file_without_programs_says_how_to_mark_one(
    beewire: Run, write: Write
) -> None:
    told = beewire("run", write("x = 1\n"))

    assert told.returncode == 2
    assert "prog.py has no programs" in told.stderr
    assert "@tracepoint" in told.stderr


def test_a_syntax_error_is_shown_with_line_and_caret(
    beewire: Run, write: Write
) -> None:
    told = beewire("run", write("x = 1\ny = = 2\n"))

    assert told.returncode == 2
    assert told.stderr.splitlines()[0].endswith('prog.py", line 2')
    assert "    ^" in told.stderr
    assert "Traceback" not in told.stderr


def test_an_error_of_the_file_is_told_by_its_line(beewire: Run, write: Write) -> None:
    told = beewire("run", write("x = 1\ny = unknown + x\n"))

    assert told.returncode == 2
    assert "prog.py:2: NameError: name 'unknown' is not defined" in told.stderr
    assert "y = unknown + x" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_program_that_cannot_be_compiled_is_shown_with_a_caret(
    beewire: Run, write: Write
) -> None:
    source = EVENTS.replace("        if event is not None:\n    ", "")

    told = beewire("run", write(source))

    assert told.returncode == 2
    assert 'prog.py", line ' in told.stderr
    assert "^" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_program_on_a_cgroup_asks_for_it(beewire: Run, write: Write) -> None:
    told = beewire("run", write(CONNECTS))

    assert told.returncode == 2
    assert "'on_connect' is attached to a cgroup" in told.stderr
    assert "--cgroup PATH" in told.stderr


def test_a_place_that_no_program_needs_is_refused(beewire: Run, write: Write) -> None:
    told = beewire("run", write(COUNTS), "--interface", "lo")

    assert told.returncode == 2
    assert "--interface has no use" in told.stderr
    assert "attached to an interface" in told.stderr


@pytest.mark.kernel
def test_a_cgroup_that_is_not_there_is_named(beewire: Run, write: Write) -> None:
    told = beewire("run", write(CONNECTS), "--cgroup", "/absent/cgroup")

    assert told.returncode == 1
    assert "/absent/cgroup" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.kernel
@pytest.mark.usefixtures("programs_start")
def test_what_is_in_the_maps_is_printed_at_the_end(beewire: Run, write: Write) -> None:
    told = beewire("run", write(COUNTS), "--seconds", "3")

    assert told.returncode == 0, told.stderr
    assert "runs (HashMap): " in told.stdout
    assert "  name='true'" in told.stdout
    assert "attached on_exec" in told.stderr


@pytest.mark.kernel
@pytest.mark.usefixtures("programs_start")
def test_records_are_printed_as_they_arrive_up_to_their_number(
    beewire: Run, write: Write
) -> None:
    told = beewire("run", write(EVENTS), "--records", "3")

    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("pid=") and "name='" in line for line in lines)


@pytest.mark.kernel
def test_records_of_perf_buffers_are_printed_too(beewire: Run, write: Write) -> None:
    done = beewire("run", write(SAMPLES), "--records", "1")

    assert done.returncode == 0, done.stderr
    assert "number=7" in done.stdout


@pytest.mark.kernel
def test_records_that_wake_nobody_are_printed_too(beewire: Run, write: Write) -> None:
    late = SAMPLES.replace("[Sample]()", "[Sample](size=1 << 20, wakeup_bytes=1 << 19)")

    done = beewire("run", write(late), "--records", "1")

    assert done.returncode == 0, done.stderr
    assert "number=7" in done.stdout


@pytest.mark.kernel
def test_records_that_were_dropped_are_told(beewire: Run, write: Write) -> None:
    done = beewire("run", write(FLOOD), "--records", "1")

    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^beewire: numbers: \d+ records dropped", done.stderr, re.MULTILINE
    )


@pytest.mark.kernel
@pytest.mark.usefixtures("programs_start")
def test_what_programs_print_is_printed(beewire: Run, write: Write) -> None:
    source = IMPORTS + (
        "@tracepoint('sched:sched_process_exec')\n"
        "def on_exec(ctx: Tracepoint) -> None:\n"
        "    printk(f'executed by {current_tgid()}')\n"
    )

    told = beewire("run", write(source), "--records", "2")

    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("printk: executed by ")


@pytest.mark.kernel
@pytest.mark.usefixtures("programs_start")
def test_main_replaces_the_printing_and_gets_the_arguments(
    beewire: Run, write: Write
) -> None:
    source = EVENTS + (
        "import sys\n"
        "def main() -> int:\n"
        "    print(sys.argv[1], len(started.read(10)) > 0)\n"
        "    return 3\n"
    )

    told = beewire("run", write(source), "hello")

    assert (told.returncode, told.stdout) == (3, "hello True\n")


@pytest.mark.kernel
def test_main_is_interrupted_when_the_time_is_over(beewire: Run, write: Write) -> None:
    source = EVENTS + "import time\ndef main() -> None:\n    time.sleep(60)\n"

    told = beewire("run", write(source), "--seconds", "0.1")

    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_a_number_of_records_is_refused_where_main_reads_them(
    beewire: Run, write: Write
) -> None:
    told = beewire("run", write(EVENTS + "def main(): ...\n"), "--records", "1")

    assert told.returncode == 2
    assert "--records has no use" in told.stderr


@pytest.mark.parametrize("number", ["0", "-1", "inf", "soon"])
def test_a_time_that_is_none_is_refused(beewire: Run, number: str) -> None:
    told = beewire("run", "prog.py", f"--seconds={number}")

    assert told.returncode == 2
    assert number in told.stderr


@pytest.mark.kernel
def test_an_error_in_main_is_told_by_its_line(beewire: Run, write: Write) -> None:
    told = beewire("run", write(EVENTS + "def main() -> None:\n    1 / 0\n"))

    assert told.returncode == 1
    assert "ZeroDivisionError: division by zero" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.kernel
@pytest.mark.usefixtures("programs_start")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_with_the_maps(write: Write, number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "beewire", "run", write(COUNTS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    assert "attached" in process.stderr.readline()

    process.send_signal(number)
    out, _ = process.communicate(timeout=100)

    assert process.returncode == 0
    assert "runs (HashMap): " in out


@pytest.mark.kernel
def test_a_number_of_records_is_refused_where_there_are_none(
    beewire: Run, write: Write
) -> None:
    told = beewire("run", write(COUNTS), "--records", "3")

    assert told.returncode == 2
    assert "--records has no use: no program of" in told.stderr


ZEROS = (
    IMPORTS
    + """
from beewire.bpf import Array

class Point(Struct):
    x: u32
    y: u32

states = HashMap[u32, u64](max_entries=8)
points = Array[Point](max_entries=100)

@tracepoint("sched:sched_process_exec")
def on_exec(ctx: Tracepoint) -> None:
    states[5] = 0
    points[7] = Point(x=1, y=2)
"""
)


@pytest.mark.kernel
@pytest.mark.usefixtures("programs_start")
def test_zero_is_an_entry_of_a_hash_and_none_of_an_array(
    beewire: Run, write: Write
) -> None:
    told = beewire("run", write(ZEROS), "--seconds", "3").stdout

    assert "states (HashMap): 1 entry\n  5  0\n" in told
    assert "points (Array): 1 entry\n  7  x=1 y=2\n" in told
