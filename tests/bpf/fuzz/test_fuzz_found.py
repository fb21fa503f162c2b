"""Programs on which the fuzzer found a fault, made short: each is run three ways again."""

from collections import Counter

import pytest

from beewire.bpf import Target, collect
from tests.bpf.fuzz.program import Source
from tests.bpf.fuzz.trial import Outcome, cell, on_one_cpu, try_

pytestmark = pytest.mark.kernel

HEAD = "from enum import IntEnum, IntFlag\nfrom typing import Annotated\n"
HEAD += "from beewire.bpf import *\n"
FOUND = {
    "a record that is sent while another is being written": """
class Record(Struct):
    number: u32
events = RingBuf[Record](1 << 16)
@xdp
def program(ctx: XdpContext) -> u32:
    with events.reserve() as e:
        if e is not None:
            events.emit(Record(number=2))
            e.number = 1
    return 0
""",
    "an element of a packet at a variable index": """
class Row(Struct):
    first: u8
    words: list[int] = array(i32, 2)
@xdp
def program(ctx: XdpContext) -> u32:
    if (row := ctx.at(3, Row)) is None:
        return 1
    row.words[row.first & 1] = 7
    return u32(row.words[ctx.length & 1])
""",
    "a small enum at the end of a struct with bit-fields": """
class Flag(IntFlag):
    SYN = 2
class Inner(Struct):
    p0: u8
    b3: i8 = bits(1)
    fl2: Annotated[Flag, u8]
kept = Array[Inner](2)
@xdp
def program(ctx: XdpContext) -> u32:
    kept[1] = Inner(b3=ctx.length, fl2=Flag.SYN)
    return 0
""",
    "a choice of references whose condition is always true": """
class Inner(Struct):
    n: u32
class Outer(Struct):
    inner: Inner
    m: u32
@xdp
def program(ctx: XdpContext) -> u32:
    a = Outer(m=1)
    b = Outer(m=2)
    a.inner.n = ctx.length
    q = a.inner if (ctx.length or 7) else b.inner
    r = a.inner if 0 else b.inner
    return q.n + r.n
""",
    "a loop by bpf_loop that is left with a record in hand": """
class Record(Struct):
    number: u64
events = RingBuf[Record](1 << 16)
@xdp
def program(ctx: XdpContext) -> u32:
    n = ctx.length
    while n > 1:
        n //= 2
        with events.reserve() as e:
            if e is not None:
                return u32(n)
    return 8
""",
    "a loop whose first test is decided on the way in": """
class Inner(Struct):
    c: u32
    n: u32
level = Global(u32)
table = HashMap[u32, u32](8)
@xdp
def program(ctx: XdpContext) -> u32:
    s = Inner(c=u8(bool(level.value)))
    e: u32 = ctx.length
    s.c = 3
    known: bool = s.c == 3
    for i in range(2):
        if (known or u8(bool(e == 7))) == min(e, level.value):
            s.n -= e
        elif level.value in (10, e) or (e & 7 in table):
            s.n += 1
    return s.n
""",
    "a copy of a struct of the packet, whose padding is not zero": """
class Inner(Struct):
    p0: u8
    n0: u32
class Outer(Struct):
    f1: u16
    inner: Inner
    p0: u64
@xdp
def program(ctx: XdpContext) -> u32:
    p6 = ctx.at(20, Outer)
    if p6 is None:
        return 1
    return u32(ctx.write(0, p6.copy()))
""",
    "a bit-field across words in a struct that a subprogram makes": """
class Outer(Struct):
    p0: u64
    n0: u8
    b1: u32 = bits(14)
@subprogram
def made(a: u32) -> Outer:
    return Outer(b1=a)
@xdp
def program(ctx: XdpContext) -> u32:
    return made(ctx.length).b1 + made(3).b1
""",
    "a record in a loop of no rounds, and what may end the program": """
class Record(Struct):
    r0: u8
    r1: i8
events = RingBuf[Record](1 << 16)
mine = PerCpuGlobal(u64)
@xdp
def program(ctx: XdpContext) -> u32:
    for _ in range(0):
        with events.reserve() as e:
            if e is not None:
                e.r0 = mine.value
                e.r1 = 3
    return ctx.length
""",
    "packed structs that functions share": """
class Inner(Struct):
    first: u32
    second: i16
class Outer(Struct, packed=True):
    kind: i8
    number: i64
    inner: Inner
    words: list[int] = array(u16, 2)
    part: u32 = bits(13)
@subprogram
def made(a: u32) -> tuple[u32, Outer]:
    return a, Outer(number=-5, inner=Inner(first=a, second=-2), part=a)
@subprogram
def changed(it: Outer, inner: Inner) -> u64:
    it.number -= it.inner.first
    inner.second -= 3
    it.words[it.inner.first & 1] += it.part
    it.part += 1
    return u64(it.number + inner.second)
@subprogram
def passed_on(it: Outer) -> u64:
    return changed(it, it.inner)
@subprogram(is_global=True)
def seen(it: Outer) -> u64:
    return u64(it.number * it.inner.second)
def turn(i: u32, it: Outer) -> bool:
    it.inner.first += i * it.part
    return it.inner.second > 5
@xdp
def program(ctx: XdpContext) -> u32:
    n, it = made(ctx.length)
    if ctx.length > 60:
        it = Outer(kind=1, number=1 << 40)
    total = changed(it, it.inner) + passed_on(it) + seen(it)
    loop(6, turn, it)
    return n + u32(total ^ total >> 32) + it.inner.first + it.words[0] * it.words[1]
""",
}


@pytest.mark.parametrize("name", FOUND)
def test_all_three_agree(name: str) -> None:
    pytest.importorskip("llvmlite")
    made = Source(1, HEAD + FOUND[name], Counter(), "xdp", "portable")

    with on_one_cpu():
        outcome = try_(made)

    assert outcome._replace(detail="") in {
        Outcome(llvm="agrees"),
        Outcome(llvm="refused"),
    }


BOUND = """
level = Global(u32)
table = HashMap[u32, u64](8)
class Inner(Struct):
    words: list[int] = array(u32, 4)
@xdp
def program(ctx: XdpContext) -> u32:
    c: u32 = ctx.length
    s = Inner(words=[c, 1, 2, 3])
    n = c & 3
    while n > 0:
        n -= 1
        if level.value == 9:
            break
        del table[c & 5]
    return s.words[c & 3]
"""


def test_a_bound_is_computed_anew_behind_a_loop_that_is_not_followed() -> None:
    # The kernel forgets the range of a value that such a loop leaves alone.
    with cell(HEAD + BOUND) as names:
        spec = collect([names["program"]], target=Target(4, ["may_goto"]))

    masks = [i for i in spec.programs["program"].insns if i.opcode & 0xF7 == 0x57]
    assert [i.imm for i in masks].count(3) == 2
