"""What just-in-time compilers say of their code: /tmp/perf-PID.map.

CPython (`python -X perf`), Node.js (`--perf-basic-prof`), Java and .NET write such files:
"START SIZE name" in hexadecimal, one function a line.
"""

import os
import stat
from bisect import bisect_right

from beewire.rows import Row

# A map of all that a compiler ever made; Node.js comes to some megabytes.
_MOST = 1 << 28


class PerfMap:
    """Functions by address; a later line takes the place of an earlier one."""

    __slots__ = ("_functions", "_starts")

    def __init__(self, content: bytes) -> None:
        found: dict[int, tuple[int, str]] = {}
        for line in content.split(b"\n"):
            parts = line.split(None, 2)
            if len(parts) == 3:
                try:
                    start, size = int(parts[0], 16), int(parts[1], 16)
                except ValueError:
                    continue  # half a line, of a file that is being written
                name = parts[2].decode(errors="replace").rstrip("\r")
                found.pop(start, None)
                found[start] = (start + size, name)
        self._starts = sorted(found)
        self._functions = [found[start] for start in self._starts]

    def __len__(self) -> int:
        return len(self._starts)

    def find(self, address: int) -> str | None:
        """The name of the function that `address` lies in."""
        at = bisect_right(self._starts, address) - 1
        if at >= 0 and address < self._functions[at][0]:
            return self._functions[at][1]
        return None


class Whereabouts(Row):
    """What tells which map is a process's: its pid where it runs, and its user.

    `at_home` says that its root is ours.
    """

    pid: int
    inner_pid: int
    user: int
    at_home: bool


def whereabouts(pid: int) -> Whereabouts | None:
    """As /proc/PID/status tells; None once the process has ended."""
    inner, user = pid, -1
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - no pathlib here
            for line in file:
                if line.startswith("NSpid:"):
                    inner = int(line.split()[-1])
                elif line.startswith("Uid:"):
                    user = int(line.split()[2])
        at_home = os.path.samefile(f"/proc/{pid}/root", "/")  # noqa: PTH121 - as above
    except OSError:
        return None
    return Whereabouts(pid, inner, user, at_home)


def read_perf_map(where: Whereabouts) -> PerfMap | None:
    """The map that a process wrote, under its own root and its own pid; None without one.

    It is read after the process's end, too, where the root is ours. Anybody may write to /tmp: it counts only if the process's user, or root, owns it.
    """
    name = f"tmp/perf-{where.inner_pid}.map"
    fd = _open(f"/proc/{where.pid}/root/{name}")
    if fd < 0 and where.at_home:
        fd = _open(f"/{name}")
    if fd < 0:
        return None
    with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid not in {0, where.user}:
            return None
        return PerfMap(file.read(_MOST))


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return -1
