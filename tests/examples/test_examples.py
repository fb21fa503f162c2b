"""Each example, run for real and briefly: by itself, and by `beewire run`."""

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns import enter, ip

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNNERS = [(sys.executable,), (sys.executable, "-m", "beewire", "run")]

pytestmark = pytest.mark.kernel

# The first thread ends before the others, and these end at the same time.
THREADS = """
import ctypes, threading, time
for _ in range(8):
    threading.Thread(target=time.sleep, args=(0.2,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


class Example:
    """An example that runs; `stop` ends it as Ctrl-C does."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def line(self, timeout_s: float = 100) -> str:
        """The next line that it prints; "" when none comes in time."""
        try:
            return self._lines.get(timeout=timeout_s)
        except queue.Empty:
            return ""

    def stop(self) -> str:
        """End it; the rest of what it prints."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)
        self._reader.join()
        assert self.process.stderr is not None
        assert "Traceback" not in self.process.stderr.read()
        return "".join(self._lines.queue)

    def end(self) -> None:
        """Leave nothing of it behind, however the test went."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@contextmanager
def running(*command: str) -> Iterator[Example]:
    """Run `command` until the end of the block."""
    example = Example(
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    )
    try:
        yield example
    finally:
        example.end()


Marker = Callable[[str], Path]


@pytest.fixture
def marker(tmp_path: Path) -> Marker:
    """Make a program of a name that nobody else runs."""

    def make(name: str) -> Path:
        path = tmp_path / f"bw-{name}-{os.getpid()}"
        path.symlink_to("/bin/true")
        return path

    return make


def lines_until(program: Path, example: Example) -> list[str]:
    """Run `program` until the example prints a line about it; all lines up to there.

    Again and again: the example may not be attached yet, and says nothing then.
    """
    lines: list[str] = []
    for _ in range(100):
        subprocess.run([program], check=True)
        while line := example.line(timeout_s=0.3):
            lines.append(line)
            if program.name in line:
                return lines
    raise AssertionError(f"no line about {program.name}")


def test_exec_time_is_at_most_45_lines() -> None:
    assert len((EXAMPLES / "exec_time.py").read_text().splitlines()) <= 45


@pytest.mark.parametrize("runner", RUNNERS, ids=["python", "beewire run"])
def test_exec_time_names_program_and_parent(
    runner: tuple[str, ...], marker: Marker
) -> None:
    with running(*runner, str(EXAMPLES / "exec_time.py")) as example:
        line = lines_until(marker("one"), example)[-1]
        example.stop()

    assert str(os.getpid()) in line


def test_exec_time_ends_with_a_histogram(marker: Marker) -> None:
    with running(sys.executable, str(EXAMPLES / "exec_time.py")) as example:
        lines_until(marker("one"), example)
        rest = example.stop()

    assert re.search(r"^< +\d+\.\d ms #+ \d+$", rest, re.MULTILINE)


def test_exec_time_tells_once_of_a_program_with_many_threads(marker: Marker) -> None:
    with running(sys.executable, str(EXAMPLES / "exec_time.py")) as example:
        lines_until(marker("one"), example)
        threaded = subprocess.Popen([sys.executable, "-c", THREADS])
        threaded.wait()
        lines = lines_until(marker("two"), example)
        example.stop()

    about = [line.split() for line in lines if f" {threaded.pid} " in line]
    assert len(about) == 1, lines
    assert float(about[0][3]) >= 200


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """Two network namespaces, joined by a veth called `bw0` in each: .1 and .2."""
    if shutil.which("ip") is None:
        pytest.skip("needs ip (iproute2)")
    names = (f"bw-xdp-a-{os.getpid()}", f"bw-xdp-b-{os.getpid()}")
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "bw0", "type", "veth", "peer", "bw1", netns=names[0])
        ip("link", "set", "bw1", "netns", names[1], netns=names[0])
        ip("link", "set", "bw1", "name", "bw0", netns=names[1])
        for number, name in enumerate(names, 1):
            ip("addr", "add", f"10.99.0.{number}/24", "dev", "bw0", netns=name)
            ip("link", "set", "bw0", "up", netns=name)
        yield names
    finally:
        for name in names:
            subprocess.run(
                ["ip", "netns", "del", name], check=False, capture_output=True
            )


SEND = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    for _ in range(5):
        sock.sendto(b"x" * 100, ("10.99.0.1", 9))
"""


def xdp_count_command(runner: tuple[str, ...]) -> tuple[str, ...]:
    path = str(EXAMPLES / "xdp_count.py")
    if runner[-1] == "run":
        return (*runner, path, "--interface", "bw0")
    return (*runner, path, "bw0")


@pytest.mark.parametrize("runner", RUNNERS, ids=["python", "beewire run"])
def test_xdp_count_counts_by_protocol(
    runner: tuple[str, ...], namespaces: tuple[str, str]
) -> None:
    here, there = namespaces
    with running(*enter(here), *xdp_count_command(runner)) as example:
        assert "Ctrl-C" in example.line()
        sending = [*enter(there), sys.executable, "-c", SEND]
        subprocess.run(sending, check=True)
        rest = example.stop()

    # 100 bytes, after headers of UDP (8), IPv4 (20) and Ethernet (14).
    assert re.search(r"^UDP +5 packets +710 bytes$", rest, re.MULTILINE), rest


def test_xdp_count_without_an_interface_says_how_it_is_called() -> None:
    command = [sys.executable, str(EXAMPLES / "xdp_count.py")]

    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == 1
    assert "python examples/xdp_count.py eth0" in result.stderr
