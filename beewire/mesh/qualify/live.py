"""A stand on real pods: connections of one leg, and what the programs count of them."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from beewire.mesh.qualify.ground import Ground
from beewire.mesh.qualify.isolated import Line
from beewire.mesh.qualify.stand import (
    USUAL,
    Counted,
    Dialled,
    Family,
    Finding,
    Leg,
    Limits,
    Pair,
)

DETACH = "detach"


class Programs(Protocol):
    """The programs of the short path on a ground: those that are judged, or none."""

    def attach(self, limits: Limits) -> None:
        """Have them in place, with these limits."""

    def unlearn(self) -> None:
        """Forget what was learnt of destinations."""

    def learn(self) -> None:
        """Let all destinations that are known be such whose connections live long."""

    def counted(self, fd: int) -> Counted:
        """What they have counted of what one socket sent."""

    def switch(self, *, off: bool) -> None:
        """Let every byte go by TCP from now on, or no longer."""

    def detach(self) -> None:
        """Take them away, with connections as they are; the next hazard finds them again."""


class NoPrograms:
    """TCP alone, to compare with."""

    def attach(self, limits: Limits) -> None:
        """Nothing: there are none."""

    def unlearn(self) -> None:
        """Nothing: they learn nothing."""

    def learn(self) -> None:
        """Nothing: they learn nothing."""

    def counted(self, fd: int) -> Counted:  # noqa: ARG002 - nothing counts
        """Nothing."""
        return Counted()

    def switch(self, *, off: bool) -> None:
        """Nothing: it is TCP already."""

    def detach(self) -> None:
        """Nothing: there are none."""


class Live:
    """A Stand for one hazard on one leg.

    Admission is as in life, and hazards' connections are short: left to themselves, they
    would soon be left on TCP, which is another test's. So each hazard begins where nothing
    is known of its destinations, and whoever they were told of is one whose connections
    live long from then on. Who accepts there, and how, is learnt as in life.
    """

    def __init__(
        self, ground: Ground, programs: Programs, leg: Leg, line: Line, *, parts: bool
    ) -> None:
        self.leg, self.parts = leg, parts
        self._ground, self._programs, self._line = ground, programs, line
        self._open: set[int] = set()
        self._closed = Counted()
        programs.unlearn()

    @contextlib.contextmanager
    def pair(self, how: Dialled = USUAL) -> Iterator[Pair]:
        """A new connection; closed at the end of the block."""
        self._programs.learn()
        dialled, accepted = map(self._watched, self._ground.connect(self.leg, how))
        made = Pair(dialled, accepted)
        made = made if self.leg.dials else made.swapped()
        try:
            yield made
        finally:
            made.close()

    def counted(self) -> Counted:
        """What all connections of this stand have sent so far, by the programs' counters."""
        total = self._closed
        for fd in self._open:
            total = total.plus(self._programs.counted(fd))
        return total

    def prove(self, before: Counted, least: int, what: str) -> None:
        """Make sure that `least` bytes took the short path since `before`.

        Raises:
            Finding: They did not.
        """
        used = self.counted().since(before)
        if used.short < least and not isinstance(self._programs, NoPrograms):
            raise Finding(
                f"{what}: {used.short:,} bytes took the short path and {used.tcp:,} TCP"
            )

    def switch(self, *, off: bool) -> None:
        """Send every live connection back to TCP, or not any longer."""
        self._programs.switch(off=off)

    def has(self, family: Family) -> bool:
        """Whether the pods have addresses of this family."""
        return family in self._ground.families

    def detach(self) -> None:
        """Have the process that holds the programs take them away."""
        # What was counted so far is all that will be: nobody has the counters any more.
        self._closed, self._open = self.counted(), set()
        self._programs = NoPrograms()
        _close_programs()
        self._line.ask(DETACH)

    def step(self, text: str) -> None:
        """Say what is done next."""
        self._line.step(text)

    def _watched(self, sock: socket.socket) -> "_Watched":
        self._open.add(sock.fileno())
        return _Watched(sock, self._note)

    def _note(self, fd: int) -> None:
        self._open.discard(fd)
        self._closed = self._closed.plus(self._programs.counted(fd))


def _close_programs() -> None:
    # A copy of a link's or a map's descriptor would keep it where it is.
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):
            if str(entry.readlink()).startswith("anon_inode:bpf"):
                os.close(int(entry.name))


class _Watched(socket.socket):
    # What the programs have counted of a socket goes with it: it is read before.

    def __init__(self, sock: socket.socket, note: Callable[[int], None]) -> None:
        super().__init__(fileno=sock.detach())
        self._note = note

    def close(self) -> None:
        if self.fileno() >= 0:
            self._note(self.fileno())
        super().close()
