"""Programs on which the fuzzer found a fault, made short: each is run three ways again."""

from collections import Counter

import pytest

from beewire.bpf import Target, collect
from beewire.errors import CompileError
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


PACKED = """
class Inner(Struct, packed=True):
    first: i16
    second: u32
@subprogram
def made(a: u32) -> Inner:
    return Inner(second=a)
@xdp
def program(ctx: XdpContext) -> u32:
    return made(ctx.length).second
"""


def test_a_subprogram_that_returns_a_packed_struct_is_refused() -> None:
    with (
        cell(HEAD + PACKED) as names,
        pytest.raises(CompileError, match="not aligned on the stack"),
    ):
        collect([names["program"]])


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
