"""Functions in the running kernel: subprograms, several results, callbacks."""

import pytest

from beewire.bpf import collect, kernel, load
from beewire.bpf.object import read, write
from beewire.errors import CompileError, SpecError
from tests.bpf.lang.cells import cell, evaluated, program, results, subprograms
from tests.bpf.lang.refused_functions import FUNCTIONS

pytestmark = pytest.mark.kernel


MORE = 100  # lines that make it big

BIG = """
def big(value: u64, by: u32) -> u64:
    for i in range(8):
        value = (value ^ by) * 31 + i
        value = (value ^ (value >> 7)) * 17
        if value & 1:
            value += by
        elif value & 2:
            value -= 3
        else:
            value ^= 0x5555
        value = (value << 3) | (value >> 61)
        value = (value ^ by) * 131 + i
        value = (value ^ (value >> 9)) * 19
        value = (value ^ by) * 37 + i
        value = (value ^ (value >> 5)) * 23
        value = (value ^ by) * 41 + i
{more}    return value
""".format(more="        value = (value ^ by) * 29 + i\n" * MORE)


def python_big(value: int, by: int) -> int:
    """`big`, by Python."""
    mask = (1 << 64) - 1
    for i in range(8):
        value = ((value ^ by) * 31 + i) & mask
        value = (value ^ (value >> 7)) * 17 & mask
        if value & 1:
            value = (value + by) & mask
        elif value & 2:
            value = (value - 3) & mask
        else:
            value ^= 0x5555
        value = (value << 3) & mask | (value >> 61)
        value = ((value ^ by) * 131 + i) & mask
        value = (value ^ (value >> 9)) * 19 & mask
        value = ((value ^ by) * 37 + i) & mask
        value = (value ^ (value >> 5)) * 23 & mask
        value = ((value ^ by) * 41 + i) & mask
        for _ in range(MORE):
            value = ((value ^ by) * 29 + i) & mask
    return value


def test_a_big_function_that_is_called_twice_becomes_a_subprogram() -> None:
    names = program(BIG, "results[0] = big(at.a, 3)\nresults[1] = big(at.b, at.c)")

    assert subprograms(names) == ["big"]
    assert results(names)[:2] == [python_big(5, 3), python_big(6, 0x20003)]
    assert evaluated(names)[:2] == [python_big(5, 3), python_big(6, 0x20003)]


def test_a_big_function_that_is_called_once_is_compiled_in() -> None:
    names = program(BIG, "results[0] = big(at.a, 3)")

    assert subprograms(names) == []
    assert results(names)[0] == python_big(5, 3)


def test_inline_keeps_a_big_function_in_its_callers() -> None:
    names = program(
        "@inline" + BIG, "results[0] = big(at.a, 3)\nresults[1] = big(at.b, at.c)"
    )

    assert subprograms(names) == []
    assert results(names)[:2] == [python_big(5, 3), python_big(6, 0x20003)]


def test_a_big_function_that_is_called_may_end_the_program() -> None:
    functions = BIG.replace(
        "    return value\n",
        "    while by != 3:\n        by = by | 0x10000\n    return value\n",
    )
    names = program(
        functions,
        """
results[0] = 1
results[1] = big(1, 3) ^ big(2, 3)
results[2] = big(at.a, at.c) ^ big(2, 7)
results[3] = 1
""",
    )

    assert "big" in subprograms(names)
    # The second loop never ends: the kernel stops the program, which goes no further.
    left = results(names)
    assert left[0] == 1
    assert left[1] != 0
    assert left[2:4] == [0, 0]


def test_arguments_by_name_only_and_by_place_only() -> None:
    names = program(
        """
def f(a: u64 = 1, *, b: u64) -> u64:
    return a * 10 + b
def g(a: u64, /, b: u64 = 2) -> u64:
    return a * 10 + b
""",
        """
results[0] = f(b=3)
results[1] = f(2, b=4)
results[2] = g(3)
results[3] = g(3, b=4)
""",
    )

    assert results(names)[:4] == [13, 24, 32, 34]
    assert evaluated(names)[:4] == [13, 24, 32, 34]


@pytest.mark.parametrize(
    "source",
    [
        "größe = HashMap[u32, u64](4)\ndef f(n: u32) -> None:\n    größe[n] += 1\n",
        "größe = Global(u64)\ndef f(n: u32) -> None:\n    größe.value += n\n",
        (
            "class P(Struct):\n    größe: u32\nt = HashMap[u32, P](4)\n"
            "def f(n: u32) -> None:\n    t[n] = P(größe=n)\n"
        ),
        (
            "@subprogram\ndef größe(n: u32) -> u32:\n    return n\n"
            "def f(n: u32) -> None:\n    results[0] = größe(n)\n"
        ),
    ],
)
def test_names_that_the_kernel_sees_are_ascii(source: str) -> None:
    names = program(source, "f(1)")

    with pytest.raises(SpecError, match="ASCII names only: call 'größe' otherwise"):
        collect([names["program"]])


def test_a_small_function_is_a_subprogram_where_it_is_marked() -> None:
    names = program(
        "@subprogram\ndef add(a: u64, b: u16) -> u64:\n    return a + b\n",
        "results[0] = add(at.a, at.d) + add(b=1, a=at.b)",
    )

    assert subprograms(names) == ["add"]
    assert results(names)[0] == 5 + 7 + 6 + 1


def test_a_subprogram_takes_each_kind_of_memory_in_one_of_its_own() -> None:
    names = program(
        """
@subprogram
def bump(pair: Pair | None) -> u64:
    if pair is None:
        return 1000
    pair.x += 1
    return pair.x + pair.y
""",
        """
own = Pair(x=1, y=2)
results[0] = bump(own)
results[1] = own.x
table[1] = own
results[2] = bump(table.lookup(1))
results[3] = bump(table.lookup(2))
results[4] = bump(None)
results[5] = bump(ctx.at(0, Pair))
results[6] = at.a
""",
    )

    assert subprograms(names) == ["bump", "bump_2", "bump_3", "bump_4"]
    assert results(names)[:7] == [4, 2, 5, 1000, 1000, 12, 6]
    assert evaluated(names)[:7] == [4, 2, 5, 1000, 1000, 12, 6]


def test_a_subprogram_returns_references_structs_and_several_values() -> None:
    names = program(
        """
@subprogram
def find(key: u32) -> Pair | None:
    return table.lookup(key)
@subprogram
def make(x: u64) -> Pair:
    if x == 9:
        return Pair(y=1)
    return Pair(x=x, y=x + 1)
@subprogram
def split(value: u32) -> tuple[u16, u16, Pair]:
    return value >> 16, value, Pair(x=value)
@subprogram
def paint(n: u64) -> Color:
    return Color.BLUE if n > 5 else Color.RED
@subprogram
def below(a: u64, b: u64) -> bool:
    return a < b
""",
        """
pair = make(at.a)
table[1] = pair
results[0] = pair.x + pair.y
high, low, rest = split(at.c)
results[1] = (high << 16) + low
results[2] = rest.x
if (found := find(1)) is not None:
    found.y = 50
    results[3] = found.y
if find(2) is None:
    results[4] = 1
if below(at.a, at.b) and not below(at.b, at.a):
    results[5] = paint(at.a) * 10 + paint(at.b)
results[6] = make(9).y
""",
    )

    assert results(names)[:7] == [11, 0x20003, 0x20003, 50, 1, 12, 1]
    assert evaluated(names)[:7] == [11, 0x20003, 0x20003, 50, 1, 12, 1]


def test_an_inlined_function_returns_several_values() -> None:
    names = program(
        """
def split(value: u32) -> tuple[u16, bool]:
    if value == 7:
        return 1, False
    return value >> 16, value & 1 == 1
def both(value: u32) -> tuple[u16, bool]:
    return split(value)
""",
        """
half, odd = both(at.c)
one, even = split(7)
results[0], results[1] = half, odd
results[2], results[3] = one, even
results[4] = split(at.c)[0]
""".replace(
            "results[0], results[1] = half, odd", "results[0] = half\nresults[1] = odd"
        ).replace(
            "results[2], results[3] = one, even", "results[2] = one\nresults[3] = even"
        ),
    )

    assert results(names)[:5] == [2, 1, 1, 0, 2]
    assert evaluated(names)[:5] == [2, 1, 1, 0, 2]


def test_a_global_function_is_verified_by_itself() -> None:
    names = program(
        """
@subprogram(is_global=True)
def weigh(ctx: XdpContext, pair: Pair, n: u16) -> u16:
    if n > 3:
        pair.y = 7
    return pair.x + n + ctx.rx_queue_index
@subprogram(is_global=True)
def perhaps(pair: Pair | None) -> bool:
    return pair is not None and pair.x > 3
""",
        """
own = Pair(x=0x10002)
results[0] = weigh(ctx, own, at.d)
results[1] = own.y
results[2] = perhaps(own)
results[3] = perhaps(None)
table[1] = own
if (found := table.lookup(1)) is not None:
    results[4] = weigh(ctx, found, 1)
""",
    )

    assert subprograms(names) == ["weigh", "perhaps"]
    assert results(names)[:5] == [9, 7, 1, 0, 3]


def test_loop_calls_its_body_and_shares_a_struct_with_it() -> None:
    names = program(
        """
def body(i: u32, pair: Pair) -> bool:
    pair.x += i
    return pair.x > 1000
def count(i: u64) -> None:
    results[2] += 1
""",
        """
own = Pair(y=1)
results[0] = loop(100000, body, own)
results[1] = own.x
loop(at.b, count)
""",
    )

    assert results(names)[:3] == [46, 1035, 6]
    assert evaluated(names)[:3] == [46, 1035, 6]


def test_for_each_visits_every_entry() -> None:
    names = program(
        """
def total(key: u32, value: Ref[u64], sum: Pair) -> None:
    sum.x += value.value
    sum.y += key
    value.value = 1
def first(key: u32, pair: Pair) -> bool:
    pair.x += 1
    return True
""",
        """
counts[2] = 20
counts[3] = 30
sum = Pair()
results[0] = counts.for_each(total, sum)
results[1] = sum.x
results[2] = sum.y
table[1] = Pair()
table[2] = Pair()
results[3] = table.for_each(first)
""",
    )

    assert results(names)[:4] == [2, 50, 5, 1]
    assert evaluated(names)[:4] == [2, 50, 5, 1]


def test_subprograms_call_subprograms_and_are_called_by_several_programs() -> None:
    names = cell("""
@subprogram
def inner(a: u64) -> u64:
    return a * 3
@subprogram
def outer(a: u64) -> u64:
    return inner(a) + 1
@xdp
def one(ctx: XdpContext) -> XdpAction:
    results[0] = outer(5)
    return XdpAction.PASS
@xdp
def two(ctx: XdpContext) -> XdpAction:
    results[1] = inner(5)
    return XdpAction.DROP
""")

    spec = collect([names["one"], names["two"]])
    assert list(spec.programs) == ["one", "two", "inner", "outer"]
    with load(spec) as loaded:
        assert loaded[names["one"]].live.test_run(data_in=bytes(64)).retval == 2
        assert loaded[names["two"]].live.test_run(data_in=bytes(64)).retval == 1
        assert [loaded[names["results"]][i] for i in range(2)] == [16, 15]


def test_the_frames_of_a_chain_of_calls_fit_the_stack_together() -> None:
    names = program(
        """
class Room(Struct):
    bytes: list[u64] = array(u64, 36)
@subprogram
def deep(n: u32) -> u64:
    room = Room()
    room.bytes[n & 31] = 1
    counts.update(n, room.bytes[n & 15])
    return room.bytes[(n + 1) & 31]
""",
        """
room = Room()
room.bytes[at.c & 31] = 1
results[0] = room.bytes[at.d & 31] + deep(at.c)
""",
    )

    with pytest.raises(CompileError) as caught:
        collect([names["program"]])
    [fault] = caught.value.diagnostics
    assert fault.code == "BW193"
    assert fault.message == (
        "program() calls deep(): together they need 608 bytes of stack; BPF has 512"
    )


def test_a_tail_call_has_less_than_256_bytes_of_frames_above_it() -> None:
    names = program(
        """
class Room(Struct):
    bytes: list[u64] = array(u64, 32)
@xdp
def last(ctx: XdpContext) -> XdpAction:
    return XdpAction.TX
@subprogram
def step(ctx: XdpContext) -> u32:
    goto(last)
    return 9
""",
        """
room = Room()
room.bytes[at.c & 31] = 1
results[0] = step(ctx) + room.bytes[at.d & 31]
""",
    )

    with pytest.raises(CompileError) as caught:
        collect([names["program"]])
    [fault] = caught.value.diagnostics
    assert fault.message == (
        "program() calls step(), which goes to another program: the frames above it "
        "have 256 bytes, and may have less than 256"
    )


def test_a_big_function_whose_frame_does_not_fit_is_compiled_in() -> None:
    names = program(
        BIG.replace("def big", "def small")
        + """
class Room(Struct):
    bytes: list[u64] = array(u64, 30)
def fill(n: u32, by: u64) -> u64:
    room = Room()
"""
        + "    room.bytes[n & 15] += small(by, n) + n\n" * 4
        + "    return room.bytes[n & 7]\n",
        """
own = Room()
own.bytes[at.d & 15] = fill(at.c, 3)
own.bytes[at.d & 7] += fill(at.c, 4)
results[0] = own.bytes[7]
""",
    )

    assert "small" not in subprograms(names)
    assert results(names)[0] == sum(
        4 * (python_big(n, 0x20003) + 0x20003) for n in (3, 4)
    ) % (1 << 64)


def test_goto_continues_in_another_program_and_returns_what_it_returns() -> None:
    names = program(
        """
@xdp
def last(ctx: XdpContext) -> XdpAction:
    results[1] = 7
    return XdpAction.PASS
def leave(ctx: XdpContext, go: bool) -> None:
    if go:
        goto(last)
""",
        "results[0] = 1\nleave(ctx, at.a == 5)\nresults[2] = 1",
    )

    assert results(names)[:3] == [1, 7, 0]
    assert results(names, a=4)[:3] == [1, 0, 1]
    assert evaluated(names)[:3] == [1, 7, 0]


def test_goto_ends_after_33_in_a_row() -> None:
    names = program(
        """
@xdp
def again(ctx: XdpContext) -> XdpAction:
    results[0] += 1
    goto(again)
    results[1] = 5
    return XdpAction.PASS
""",
        "goto(again)",
    )

    assert results(names)[:2] == [33, 5]
    assert evaluated(names)[:2] == [33, 5]


def test_a_tail_call_in_a_subprogram_returns_to_its_caller() -> None:
    names = program(
        """
@xdp
def last(ctx: XdpContext) -> XdpAction:
    return XdpAction.TX
@subprogram
def step(ctx: XdpContext) -> u32:
    goto(last)
    return 9
""",
        "results[0] = step(ctx)",
    )

    assert results(names)[0] == 3


@pytest.mark.parametrize("name", FUNCTIONS)
def test_is_refused(name: str) -> None:
    functions, body, message, code = FUNCTIONS[name]
    names = program(functions, body)

    with pytest.raises(CompileError) as caught:
        collect([names["program"]])

    fault = caught.value.diagnostics[0]
    assert (fault.message, fault.code) == (message, code)


def test_objects_with_subprograms_are_read_as_they_were_written() -> None:
    names = program(
        """
@subprogram(is_global=True)
def weigh(ctx: XdpContext, pair: Pair, n: u16) -> u16:
    return pair.x + n
@subprogram
def add(a: u64) -> u64:
    return a + 1
def body(i: u32, pair: Pair) -> None:
    pair.x += add(i)
@xdp
def last(ctx: XdpContext) -> XdpAction:
    return XdpAction.DROP
""",
        """
own = Pair()
loop(4, body, own)
results[0] = weigh(ctx, own, 3)
goto(last)
""",
    )

    spec = collect([names["program"]])
    blob = write(spec)
    again = read(blob)

    assert write(again) == blob
    assert list(again.programs) == list(spec.programs)
    assert again.maps["programs"].initial == {0: "last"}
    assert [(tag.name, tag.component) for tag in again.tags] == [("arg:nonnull", 1)]
    with kernel.load(again) as loaded:
        run = loaded.programs["program"].test_run(data_in=bytes(64))
        assert run.retval == 1
