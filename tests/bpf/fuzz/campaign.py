"""Many programs, in several processes, and what came of them."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

from tests.bpf.fuzz.program import source
from tests.bpf.fuzz.trial import Outcome, on_one_cpu, try_

CHUNK = 25  # programs that a process takes at once


class Fault(NamedTuple):
    """A program that shows a fault."""

    seed: int
    outcome: Outcome


class Totals:
    """What came of the programs so far."""

    def __init__(self) -> None:
        self.programs = 0
        self.compared = 0
        self.faults: list[Fault] = []
        self.excuses: Counter[str] = Counter()
        self.llvm: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()  # why LLVM did not take part
        self.constructs: Counter[str] = Counter()
        self.seconds = 0.0

    def add(self, seed: int, used: frozenset[str], outcome: Outcome) -> None:
        """Count one program."""
        self.programs += 1
        self.constructs.update(used)
        if outcome.excuse:
            self.excuses[outcome.excuse] += 1
            return
        if outcome.fault:
            self.faults.append(Fault(seed, outcome))
            return
        self.compared += 1
        if outcome.llvm:
            self.llvm[outcome.llvm] += 1
        if outcome.llvm in {"cannot", "refused"}:
            self.reasons[_short(outcome.detail)] += 1

    @property
    def llvm_share(self) -> float:
        """The part of the compared programs that LLVM took part in."""
        asked = sum(self.llvm.values())
        return self.llvm["agrees"] / asked if asked else 0.0

    def share(self, construct: str) -> float:
        """The part of the programs that have a construct."""
        return self.constructs[construct] / max(1, self.programs)


def _short(detail: str) -> str:
    """A refusal without what differs from program to program."""
    words = detail.split(": ", 1)[-1].split()
    plain = ["N" if any(c.isdigit() for c in word) else word for word in words]
    return " ".join(plain[:12])


def chunk(seeds: range, llvm_every: int) -> list[tuple[int, frozenset[str], Outcome]]:
    """Try some programs."""
    found = []
    with on_one_cpu(seeds.start // CHUNK):
        for seed in seeds:
            made = source(seed)
            with_llvm = llvm_every > 0 and seed % llvm_every == 0
            outcome = try_(made, with_llvm=with_llvm)
            found.append((seed, frozenset(made.used), outcome))
    return found


def run(
    programs: int,
    first: int,
    *,
    jobs: int = 1,
    llvm_every: int = 1,
    enough: Callable[[Totals], bool] = lambda _: False,
) -> Iterator[Totals]:
    """Try programs of the seeds from `first` on; the totals after every chunk.

    LLVM takes part in every `llvm_every`-th, in none where that is 0. It ends early when
    `enough` says so.
    """
    totals = Totals()
    began = time.monotonic()
    for results in _results(programs, first, jobs, llvm_every):
        for seed, used, outcome in results:
            totals.add(seed, used, outcome)
        totals.seconds = time.monotonic() - began
        yield totals
        if enough(totals):
            return


def _results(
    programs: int, first: int, jobs: int, llvm_every: int
) -> Iterator[list[tuple[int, frozenset[str], Outcome]]]:
    ends = range(first, first + programs, CHUNK)
    chunks = [range(at, min(at + CHUNK, first + programs)) for at in ends]
    if jobs == 1:
        for seeds in chunks:
            yield chunk(seeds, llvm_every)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("forkserver")) as pool:
        yield from pool.map(chunk, chunks, [llvm_every] * len(chunks))
