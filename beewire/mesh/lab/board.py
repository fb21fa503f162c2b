"""What processes of the lab tell each other: rows of numbers in memory that they share."""

import mmap
import time
from collections.abc import Callable
from typing import Self

from beewire.errors import MeshError

PROCESSES = 64


class Board:
    """A row for each name, with a number for each of up to 64 processes.

    Made before the processes are; `board["opened"][3] += 1` is the fourth one's. Each
    writes its own numbers only. A context manager.
    """

    def __init__(self, *names: str) -> None:
        self._memory = mmap.mmap(-1, 8 * PROCESSES * len(names))
        self._words = memoryview(self._memory).cast("Q")
        self._rows = {
            name: self._words[i * PROCESSES : (i + 1) * PROCESSES]
            for i, name in enumerate(names)
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for row in self._rows.values():
            row.release()
        self._words.release()
        self._memory.close()

    def __getitem__(self, name: str) -> memoryview:
        return self._rows[name]

    def total(self, name: str) -> int:
        """The sum of a row."""
        return sum(self._rows[name])

    def wait(self, reached: Callable[[], bool], at_most_s: float) -> bool:
        """Wait until `reached()`; whether that came in time."""
        deadline = time.monotonic() + at_most_s
        while not reached():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def expect(self, reached: Callable[[], bool], at_most_s: float, what: str) -> None:
        """As `wait`.

        Raises:
            MeshError: it did not come; `what` says what.
        """
        if not self.wait(reached, at_most_s):
            raise MeshError(f"{what} takes longer than {at_most_s:g} s")
