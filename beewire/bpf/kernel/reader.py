"""Reading records as programs send them: what ring buffers and perf buffers share.

`fence` says in which order memory is looked at, and why.
"""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from itertools import islice
from operator import length_hint

from beewire.bpf.kernel import syscall
from beewire.bpf.kernel.descriptor import Closing
from beewire.bpf.kernel.fence import Fence
from beewire.bpf.kernel.runs import Decoding, Pieces, Run
from beewire.errors import MapError
from beewire.garbage import Paused
from beewire.hints import (
    TYPE_CHECKING,
    Any,
    Callable,
    Generic,
    Iterator,
    TypeVar,
)
from beewire.rows import Row

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from numpy.typing import NDArray

T = TypeVar("T")
X = TypeVar("X")

# A record that is reserved but not yet submitted makes the ring look readable.
_BUSY_WAIT_S = 0.000_2
EVERYTHING = sys.maxsize


class Counts(Row):
    """What a reader has met so far.

    `read` were taken out of the buffer, `discarded` given up by programs, `lost` did not
    fit into a perf buffer; `busy` is how often a record that was not complete yet held
    back what lay behind it.
    """

    read: int
    discarded: int
    lost: int
    busy: int


class Reader(Closing, ABC, Generic[T]):
    """Records of one buffer, each of which is read once, by one thread.

    with RingReader(loaded.maps["events"], Event.from_bytes) as reader:
        for record in reader: ...               # waits; ends with the loop
        async for record in reader: ...
        reader.read()                           # what is there, without waiting
        reader.poll(timeout=0.1)                # waits for a list of records
        reader.read_batch()                     # the same as tuples, at once
    """

    __slots__ = (
        "_decoding",
        "_epoll",
        "_fence",
        "_held",
        "_is_awaited",
        "_latency",
        "busy",
        "discarded",
        "lost",
        "taken",
    )

    def __init__(
        self, decode: Callable[[bytes], T] | Decoding[T], latency: float | None = None
    ) -> None:
        self._decoding = decode if isinstance(decode, Decoding) else Decoding(decode)
        # Programs that wake a reader late leave it to look by itself so often.
        self._latency = latency
        self._fence = Fence()
        self._epoll = syscall.poll()
        # What is left of the run that an iteration is in the midst of.
        self._held: Iterator[Any] = iter(())
        self._is_awaited = False
        self.taken = self.discarded = self.lost = self.busy = 0

    # --- what each kind of buffer knows ---

    @abstractmethod
    def _mark(self) -> Any:
        """How far the programs have come: a reading that stops there ends."""

    @abstractmethod
    def _next(self, mark: Any, most: int) -> Run | Pieces | None:
        """The next records before `mark`, at most so many; they stay until `_publish`."""

    @abstractmethod
    def _publish(self) -> None:
        """Give the room of what `_next` gave last back to the programs."""

    @abstractmethod
    def _is_behind(self) -> bool:
        """Whether programs have come further than this reader."""

    # --- reading what is there ---

    @property
    def counts(self) -> Counts:
        """What was met so far."""
        read = self.taken - length_hint(self._held)
        return Counts(read, self.discarded, self.lost, self.busy)

    def fileno(self) -> int:
        """An epoll descriptor that is readable while records wait; for event loops."""
        return self._epoll.fileno()

    def read(self) -> list[T]:
        """All records that are there now, without waiting; empty when there are none.

        However fast programs send, it ends: what comes while it reads is left.
        """
        decoding = self._decoding
        found = list(decoding.records(self._held))
        self._take(lambda run: found.extend(decoding.records(decoding.raws(run))))
        return found

    def rows(self, limit: int = EVERYTHING) -> list[Any]:
        """As `read`, at most `limit` records, each a tuple of its fields."""
        decoding = self._decoding
        found = decoding.rows(islice(self._held, limit))
        self._take(
            lambda run: found.extend(decoding.rows(decoding.raws(run))),
            limit - len(found),
        )
        return found

    def array(self, limit: int = EVERYTHING) -> "NDArray[Any]":
        """As `rows`, as one numpy array with the fields of the records.

        Raises:
            MapError: Nothing is known of the type of the records.
        """
        decoding = self._decoding
        blocks = []
        if rest := min(length_hint(self._held), limit):
            blocks.append(decoding.block_of(islice(self._held, rest)))
        self._take(lambda run: blocks.append(decoding.block(run)), limit - rest)
        return decoding.joined(blocks)

    def _take(
        self, use: Callable[[Run | Pieces], object], limit: int = EVERYTHING
    ) -> None:
        """Hand all runs there are now to `use`, and give their room back after each.

        The room is given back even if a decoder fails, or it would fail for ever. The
        cyclic collector rests meanwhile: what is decoded is no garbage, and to look at
        it again and again takes a fifth of the time.
        """
        mark = self._mark()
        with Paused():
            while limit > 0 and (run := self._next(mark, limit)) is not None:
                limit -= run.count
                self.taken += run.count
                try:
                    use(run)
                finally:
                    self._publish()

    def held(self) -> Iterator[T]:
        """The records of the next run, decoded as they are asked for; none, no wait.

        It is copied and its room given back first: a slow reader holds up no program. An
        iteration that is left loses nothing, for the next reading begins with the rest.
        """
        if length_hint(self._held):
            return self._decoding.records(self._held)
        mark = self._mark()
        while (
            not length_hint(self._held)
            and (run := self._next(mark, EVERYTHING)) is not None
        ):
            kept = run.copy()
            self._publish()
            self.taken += kept.count
            self._held = self._decoding.raws(kept)
        return self._decoding.records(self._held)

    # --- waiting ---

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is a record, at most `timeout` seconds (None: for ever).

        False means that the time is over.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._is_ready():
            rest = None if deadline is None else deadline - time.monotonic()
            if rest is not None and rest <= 0:
                return False
            self._fence.full()
            if not self._is_behind():
                self._epoll.poll(_least(rest, self._latency))
            elif not self._is_ready():
                time.sleep(_BUSY_WAIT_S)
        return True

    async def ready(self, timeout: float | None = None) -> bool:
        """As `wait`, for asyncio: other tasks run meanwhile, at least once.

        Raises:
            MapError: Another task is waiting for this buffer.
        """
        import asyncio  # noqa: PLC0415 - for those who use it

        if self._is_awaited:
            raise MapError("another task awaits these records: one task reads a buffer")
        self._is_awaited = True
        try:
            loop = asyncio.get_running_loop()
            deadline = None if timeout is None else loop.time() + timeout
            await asyncio.sleep(0)
            while not self._is_ready():
                rest = None if deadline is None else deadline - loop.time()
                if rest is not None and rest <= 0:
                    return False
                self._fence.full()
                if not self._is_behind():
                    await self._arrival(loop, _least(rest, self._latency))
                elif not self._is_ready():
                    await asyncio.sleep(_BUSY_WAIT_S)
            return True
        finally:
            self._is_awaited = False

    async def _arrival(self, loop: "AbstractEventLoop", pause: float | None) -> None:
        """Let other tasks run until the kernel wakes this reader, or `pause` is over."""
        import asyncio  # noqa: PLC0415 - see ready()

        arrived = asyncio.Event()
        loop.add_reader(self.fileno(), arrived.set)
        try:
            await asyncio.wait_for(arrived.wait(), pause)
        except TimeoutError:
            return
        finally:
            loop.remove_reader(self.fileno())

    def _is_ready(self) -> bool:
        """Whether there is a record to hand over."""
        if length_hint(self._held):
            return True
        mark = self._mark()
        while (run := self._next(mark, 1)) is not None:
            if run.count:
                return True
            self._publish()
        return False

    def poll(self, timeout: float | None = None) -> list[T]:
        """Wait until there are records, at most `timeout` seconds (None: for ever).

        Returns all that are there; an empty list means that the time is over.
        """
        self.wait(timeout)
        return self.read()

    def __iter__(self) -> Iterator[T]:
        """Yield records for ever, waiting where there are none.

        Leaving the loop loses nothing: what was read but not yielded comes next time.
        """
        while True:
            yield from self.held()
            self.wait()

    async def __aiter__(self) -> AsyncIterator[T]:
        """As iteration, for asyncio; other tasks run after each run of records."""
        while True:
            for record in self.held():
                yield record
            await self.ready()

    def during(self, seconds: float) -> Iterator[T]:
        """As iteration, until so many seconds are over, however many records come."""
        deadline = time.monotonic() + seconds
        while (rest := deadline - time.monotonic()) > 0 and self.wait(rest):
            for record in self.held():
                yield record
                if time.monotonic() >= deadline:
                    return

    # --- the end ---

    def close(self) -> None:
        """Give memory and descriptors back; the map stays open. Idempotent."""
        if not self._epoll.closed:
            self._epoll.close()
            self._unmap()

    @abstractmethod
    def _unmap(self) -> None:
        """Give the memory back."""


def _least(rest: float | None, latency: float | None) -> float | None:
    """The shorter of two times, of which None is the longest."""
    if rest is None or latency is None:
        return latency if rest is None else rest
    return min(rest, latency)
