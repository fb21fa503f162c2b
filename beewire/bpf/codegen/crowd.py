"""Where more values are live than there are registers, and which of them are local.

    part loop:  20 values are live at once, 14 of them born and dead in this part
                => those 14 take turns in the registers, with what lives on the stack

A value that lives in one part only costs nothing to put on that list: it is stored only
if it has to make room.
"""

from beewire.bpf.codegen.coalesce import Webs
from beewire.bpf.codegen.liveness import Ranges
from beewire.bpf.codegen.machine import FIRST_VIRTUAL
from beewire.hints import Container

_REGISTERS = 10


def crowded(ranges: Ranges, webs: Webs, spilled: list[int]) -> list[int]:
    """The webs that live in one crowded part only, and across no call."""
    live = ranges.live
    counts = _counts(ranges, webs, ())
    starts = ranges.starts
    local: list[int] = []
    known = set(spilled)
    masks = [
        (1 << starts[i + 1]) - (1 << start)
        for i, start in enumerate(starts[:-1])
        if max(counts[start : starts[i + 1]], default=0) > _REGISTERS
    ]
    if not masks:
        return []
    for web in _roots(ranges, webs):
        mine = live[web]
        if web not in known and not mine & ranges.calls:
            local += [web for mask in masks if not mine & ~mask]
    return local


def free_registers(ranges: Ranges, webs: Webs, taken: Container[int]) -> list[int]:
    """How many registers are left at each instruction by webs that are not in `taken`."""
    counts = _counts(ranges, webs, taken)
    before = [0, *counts[:-1]]
    return [
        _REGISTERS - max(here, above)
        for here, above in zip(counts, before, strict=True)
    ]


def _roots(ranges: Ranges, webs: Webs) -> list[int]:
    live = ranges.live
    return [
        web
        for web in range(FIRST_VIRTUAL, len(live))
        if live[web] and webs.parent[web] == web
    ]


def _counts(ranges: Ranges, webs: Webs, taken: Container[int]) -> list[int]:
    """How many webs and machine registers are live after each instruction."""
    length = len(ranges.code)
    steps = [0] * (length + 2)
    for web in (*range(_REGISTERS), *_roots(ranges, webs)):
        if web in taken:
            continue
        # Each set bit is where a run of the range begins or ends.
        edges = ranges.live[web] ^ ranges.live[web] << 1
        step = 1
        while edges:
            low = edges & -edges
            steps[min(low.bit_length() - 1, length)] += step
            step = -step
            edges ^= low
    counts = []
    total = 0
    for i in range(length):
        total += steps[i]
        counts.append(total)
    return counts
