"""evaluate() and the kernel agree on queues, filters and atomic operations."""

import pytest

from beewire.bpf import World, evaluate, load
from tests.bpf.lang.test_lang_kernel import cell

pytestmark = pytest.mark.kernel

SOURCE = """
from beewire.bpf import *

class Stats(Struct):
    lock: SpinLock
    count: u32
    signed: i32
    wide: u64
    small: u8

out = Array[u64](max_entries=32)
stats = Array[Stats](max_entries=1)
jobs = Queue[u32](max_entries=2)
pile = Stack[u32](max_entries=3)
seen = BloomFilter[u32](max_entries=64)

@xdp
def program(ctx: XdpContext) -> XdpAction:
    if (s := stats.lookup(0)) is None:
        return XdpAction.ABORTED
    with lock(s):
        s.wide += 40
        s.signed = -3
    with rcu():
        out[0] = fetch_add(s.count, 0xffffffff)
    out[1] = fetch_add(s.count, 2)
    out[2] = s.count
    old = fetch_add(s.signed, -4)
    if old == -3:
        out[3] = 1
    if s.signed == -7:
        out[4] = 1
    out[5] = fetch_or(s.wide, 3)
    out[6] = fetch_and(s.wide, 0xfe)
    out[7] = fetch_xor(s.wide, 0xff)
    out[8] = xchg(s.wide, 1 << 40)
    out[9] = cmpxchg(s.wide, 1, 2)
    out[10] = cmpxchg(s.wide, 1 << 40, 2)
    out[11] = s.wide
    for i in range(3):
        if jobs.push(i + 1) != 0:
            out[21] += 1
        pile.push(i + 1)
    jobs.push(9, 2)
    for i in range(4):
        if (j := jobs.pop()) is not None:
            out[12 + i] += 10 * j.value
        if (p := pile.peek()) is not None:
            pile.pop()
            out[16 + i] = p.value
    seen.add(7)
    out[20] = 1 if 7 in seen else 0
    return XdpAction.PASS
"""


def test_what_is_shared_is_evaluated_as_it_runs() -> None:
    names = cell(SOURCE)
    world = World()

    action = evaluate(names["program"], bytes(64), world=world)

    with load([names["program"]]) as loaded:
        result = loaded[names["program"]].live.test_run(data_in=bytes(64))
        assert dict(loaded[names["out"]]) == world.entries(names["out"])
    assert result.retval == action
