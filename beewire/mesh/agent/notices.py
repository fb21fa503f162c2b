"""What changes for a pod without a program's telling: its tier of the short path, and why.

A line each in `<run>/notices`, which begins anew when it is full. `beewire mesh events`
shows them among the events of the programs.
"""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from beewire.mesh.agent.directories import Directories

FILE = "notices"
MOST = 1 << 18  # bytes


def add(directories: Directories, pod: str, text: str) -> None:
    """Tell one thing of a pod; what cannot be written is not told."""
    path = directories.run / FILE
    line = json.dumps({"pod": pod, "at": time.time(), "says": text}) + "\n"
    with contextlib.suppress(OSError):
        is_full = path.exists() and path.stat().st_size + len(line) > MOST
        with path.open("w" if is_full else "a") as file:
            file.write(line)
        path.chmod(0o600)


class Notices:
    """What is told from now on."""

    def __init__(self, directories: Directories) -> None:
        self._path = directories.run / FILE
        self._after = time.time()
        self._seen = _state(self._path)

    def new(self) -> list[dict[str, Any]]:
        """What has come since the last call: `pod`, `at` in seconds since 1970, `says`."""
        now = _state(self._path)
        if now == self._seen:
            return []
        self._seen = now
        text = self._path.read_text()
        whole = text[: text.rfind("\n") + 1]
        told = [json.loads(line) for line in whole.splitlines()]
        found = [each for each in told if each["at"] > self._after]
        self._after = max([self._after, *(each["at"] for each in found)])
        return found


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
