"""The ways of taking stacks, each with its program and what it left in maps."""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from beewire.bpf.author import Loaded, Program
from beewire.bpf.kernel import Link
from beewire.symbols import Symbolizer
from beewire.symbols.unwind import Registers, Unwinder
from beewire.trace.profile import deep, programs
from beewire.trace.profile.options import Options
from beewire.trace.profile.programs import Key


class Taken(NamedTuple):
    """One stack, and how often, or how many ns; addresses innermost first.

    `whole` says that the user's addresses reach the thread's first function for sure.
    """

    key: Key
    value: int
    kernel: list[int]
    user: list[int]
    whole: bool = False


class Taking(ABC):
    """How stacks are taken: `attach`, `note` now and then, `take` at the end."""

    def __init__(self, loaded: Loaded, options: Options, symbols: Symbolizer) -> None:
        self.loaded = loaded
        self.options = options
        self.symbols = symbols
        self._stacks: dict[int, list[int]] = {}

    @staticmethod
    @abstractmethod
    def program() -> Program[Any]:
        """What is loaded for it."""

    @abstractmethod
    def attach(self) -> Link:
        """Let it run."""

    def note(self) -> None:  # noqa: B027 - not all have buffers
        """Take home what waits in buffers."""

    @abstractmethod
    def take(self) -> Iterator[Taken]:
        """All stacks, when it is detached."""

    @property
    def lost(self) -> int:
        """How many samples found no place."""
        return int(self.loaded.globals["lost"])

    def stack(self, number: int) -> list[int]:
        """The addresses of a stack in the map; none for an error's number."""
        found = self._stacks.get(number)
        if found is None:
            found = self.loaded[programs.stacks][number] if number >= 0 else []
            self._stacks[number] = found
        return found

    def counted(self, counts: dict[Key, int]) -> Iterator[Taken]:
        """What was counted in the kernel."""
        for key, value in counts.items():
            yield Taken(key, value, self.stack(key.kernel), self.stack(key.user))


class OnCpu(Taking):
    """Samples of what runs, counted in the kernel."""

    def __init__(self, loaded: Loaded, options: Options, symbols: Symbolizer) -> None:
        super().__init__(loaded, options, symbols)
        self._whole: list[programs.Whole] = []

    @staticmethod
    def program() -> Program[Any]:
        """As the base says."""
        return programs.on_cpu

    def attach(self) -> Link:
        """As the base says."""
        rate = self.options.frequency
        return self.loaded[programs.on_cpu].attach("cpu-clock", frequency=rate)

    def note(self) -> None:
        """As the base says."""
        self._whole += self.loaded[programs.wholes].poll()

    def take(self) -> Iterator[Taken]:
        """As the base says."""
        yield from self.counted(dict(self.loaded[programs.counts].items()))
        for whole in self._whole:
            kernel = list(whole.kernel[: max(whole.kernel_size, 0) // 8])
            user = list(whole.user[: max(whole.user_size, 0) // 8])
            yield Taken(whole.key, whole.value, kernel, user)


class OffCpu(Taking):
    """Times of what waits, added up in the kernel."""

    @staticmethod
    def program() -> Program[Any]:
        """As the base says."""
        return programs.off_cpu

    def attach(self) -> Link:
        """As the base says."""
        return self.loaded[programs.off_cpu].attach()

    def take(self) -> Iterator[Taken]:
        """As the base says; threads that still wait have waited until now."""
        counts = dict(self.loaded[programs.counts].items())
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        for wait in self.loaded[programs.waits].values():
            took = now - wait.since
            if took >= self.options.least_us * 1000:
                counts[wait.key] = counts.get(wait.key, 0) + took
        yield from self.counted(counts)


class _Deep(Taking):
    """Stacks as memory, whose callers are found by unwind tables."""

    def __init__(self, loaded: Loaded, options: Options, symbols: Symbolizer) -> None:
        super().__init__(loaded, options, symbols)
        self._unwinder = Unwinder()
        self._counts: Counter[tuple[Key, tuple[int, ...], bool]] = Counter()

    def note(self) -> None:
        """As the base says. Stacks are followed at once: their copies are large."""
        for sample in self.loaded[deep.deeps].poll():
            self.add(sample, sample.took)

    def add(self, sample: deep.Deep, value: int) -> None:
        """Count a stack."""
        addresses, whole = self._callers(sample)
        self._counts[sample.key, tuple(addresses), whole] += value

    def _callers(self, sample: deep.Deep) -> tuple[list[int], bool]:
        if not sample.ip or not self.options.user:
            return [], True
        pages = (sample.page0, sample.page1, sample.page2, sample.page3)
        first = sample.first[: sample.first_size]
        stack = b"".join([first, *pages[: sample.pages]])
        registers = Registers(sample.ip, sample.sp, sample.bp)
        process = self.symbols.process(sample.key.tgid)
        return self._unwinder.unwind(process, registers, stack)

    def take(self) -> Iterator[Taken]:
        """As the base says."""
        for (key, user, whole), value in self._counts.items():
            yield Taken(key, value, self.stack(key.kernel), list(user), whole)

    @property
    def lost(self) -> int:
        """As the base says."""
        return int(self.loaded.globals["missed"])


class DeepOnCpu(_Deep):
    """Samples of what runs."""

    @staticmethod
    def program() -> Program[Any]:
        """As the base says."""
        return deep.on_cpu_deep

    def attach(self) -> Link:
        """As the base says."""
        rate = self.options.frequency
        return self.loaded[deep.on_cpu_deep].attach("cpu-clock", frequency=rate)


class DeepOffCpu(_Deep):
    """Times of what waits."""

    @staticmethod
    def program() -> Program[Any]:
        """As the base says."""
        return deep.off_cpu_deep

    def attach(self) -> Link:
        """As the base says."""
        return self.loaded[deep.off_cpu_deep].attach()

    def take(self) -> Iterator[Taken]:
        """As the base says; threads that still wait have waited until now."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        for wait in self.loaded[deep.last_waits].values():
            if wait.since and now - wait.since >= self.options.least_us * 1000:
                self.add(wait, now - wait.since)
        return super().take()


def way_of(options: Options) -> type[Taking]:
    """The way that suits what is wanted."""
    if options.off_cpu:
        return DeepOffCpu if options.unwind else OffCpu
    return DeepOnCpu if options.unwind else OnCpu
