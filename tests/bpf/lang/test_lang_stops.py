"""A function that is called ends the whole program, as one that is compiled in does."""

from typing import Any

import pytest

from beewire.bpf import Target, collect, load
from beewire.bpf.object.target import ITERATORS, LOOP_HELPER, MAY_GOTO
from beewire.errors import CompileError
from tests.bpf.lang.cells import evaluated, program, results
from tests.bpf.lang.test_lang_control import needed

pytestmark = pytest.mark.kernel

# Each reads four[at.a], which there is for at.a below 4 only.
CALLS = {
    "an integer": (
        "@subprogram\ndef get(i: u64) -> u64:\n    return four[i]",
        "results[1] = get(at.a)",
    ),
    "a bool": (
        "@subprogram\ndef get(i: u64) -> bool:\n    return four[i] == 7",
        "results[1] = 7 if get(at.a) else 1",
    ),
    "a signed integer": (
        "@subprogram\ndef get(i: u64) -> i32:\n    return i32(four[i]) - 14",
        "results[1] = -get(at.a)",
    ),
    "nothing": (
        "@subprogram\ndef get(i: u64) -> None:\n    results[1] = four[i]",
        "get(at.a)",
    ),
    "a reference": (
        """@subprogram
def get(i: u64) -> Ref[u64] | None:
    return results.lookup(u32(four[i]))""",
        "slot = get(at.a)\nif slot is not None:\n    slot.value = 5\nresults[1] = 7",
    ),
    "a struct": (
        "@subprogram\ndef get(i: u64) -> Pair:\n    return Pair(x=four[i], y=i)",
        "pair = get(at.a)\nresults[1] = pair.x + pair.y - at.a",
    ),
    "a global integer": (
        "@subprogram(is_global=True)\ndef get(i: u64) -> u64:\n    return four[i]",
        "results[1] = get(at.a)",
    ),
    "a global small integer": (
        "@subprogram(is_global=True)\ndef get(i: u64) -> i16:\n    return four[i] - 14",
        "results[1] = -get(at.a)",
    ),
    "a global that returns nothing": (
        "@subprogram(is_global=True)\ndef get(i: u64) -> None:\n    results[1] = four[i]",
        "get(at.a)",
    ),
    "a call below a call": (
        """@subprogram
def inner(i: u64) -> u64:
    return four[i]
@subprogram
def get(i: u64) -> u32:
    return u32(inner(i))""",
        "results[1] = get(at.a)",
    ),
    "a callback of loop()": (
        """def body(i: u32, pair: Pair) -> None:
    results[1] = four[pair.x]
    pair.y += 1""",
        """pair = Pair(x=at.a)
results[2] = loop(9, body, pair)
results[3] = pair.y""",
    ),
    "a callback that shares nothing": (
        """def body(i: u64) -> bool:
    results[2] = four[i + 3]
    return i == 0
def each(i: u64) -> None:
    results[3] = four[i]""",
        "loop(9, body)\nloop(4 + at.a // 5, each)\nresults[1] = 7",
    ),
    "a callback of for_each()": (
        """def visit(key: u32, value: Ref[u64], pair: Pair) -> None:
    results[1] = four[pair.x]""",
        "counts[1] = 1\npair = Pair(x=at.a)\ncounts.for_each(visit, pair)",
    ),
    "a subprogram below a callback below a callback": (
        """@subprogram
def deep(i: u64) -> u64:
    return four[i]
def inner(i: u32, pair: Pair) -> None:
    results[1] = deep(pair.x)
def outer(i: u32, pair: Pair) -> None:
    loop(2, inner, pair)""",
        "pair = Pair(x=at.a)\nloop(3, outer, pair)",
    ),
}


def _names(functions: str, body: str) -> dict[str, Any]:
    start = "four[3] = 7\nresults[0] = 1\n"
    return program(
        f"four = Global(array(u64, 4))\n{functions}\n",
        f"{start}{body}\nresults[7] = 1",
    )


@pytest.mark.parametrize("name", CALLS)
def test_an_index_past_the_end_ends_the_program_through_calls(name: str) -> None:
    names = _names(*CALLS[name])

    assert (found := results(names, a=5))[:2] == [1, 0]
    assert found[7] == 0
    assert evaluated(names) == found
    assert (found := results(names, a=3))[:2] == [1, 7]
    assert found[7] == 1


SPIN = """
@subprogram
def spin(n: u64) -> u64:
    while n != 0:
        n = n | 2
    return n
def body(i: u32, pair: Pair) -> None:
    pair.x = spin(pair.y)
"""


@pytest.mark.parametrize("feature", [MAY_GOTO, ITERATORS, LOOP_HELPER])
@pytest.mark.parametrize(
    "body",
    [
        "results[1] = spin(at.a)",
        "pair = Pair(y=at.a)\nloop(3, body, pair)",
        """with ring.reserve() as record:
    if record is not None:
        record.x = spin(at.a)""",
    ],
    ids=["called", "called back", "in a block"],
)
def test_a_loop_that_is_stopped_ends_the_program_through_calls(
    body: str, feature: str
) -> None:
    names = program(
        f"ring = RingBuf[Pair](4096)\n{SPIN}", f"results[0] = 1\n{body}\nresults[7] = 1"
    )
    target = Target(3, [feature])
    needed(target)

    with load(collect([names["program"]], target=target)) as loaded:
        live = loaded[names["program"]].live
        found = loaded[names["results"]]
        assert live.test_run(data_in=b"\5".ljust(64, b"\0")).retval == 2
        assert [found[0], found[1], found[7]] == [1, 0, 0]
        live.test_run(data_in=bytes(64))
        assert [found[0], found[1], found[7]] == [1, 0, 1]


def test_what_cannot_end_the_program_costs_nothing() -> None:
    def size(read: str) -> int:
        names = _names(
            f"@subprogram\ndef get(i: u64) -> u64:\n    return {read}",
            "results[1] = get(at.a)",
        )
        return len(collect([names["program"]]).programs["program"].insns)

    assert size("four[i & 3]") == size("i & 3") == size("i + 1")


def test_a_sixth_register_for_what_it_returns_is_refused() -> None:
    names = program(
        SPIN.replace(
            "def spin(n: u64)", "def spin(n: u64, a: u64, b: u64, c: u64, d: u64)"
        ),
        "results[0] = spin(at.a, 1, 2, 3, 4)",
    )

    with pytest.raises(CompileError) as refused:
        collect([names["program"]])

    fault = refused.value.diagnostics[0]
    assert fault.code == "BW155"
    assert fault.message == (
        "spin() takes 6 registers of arguments, one for what it returns: it may end the "
        "program, and a subprogram has 5"
    )
    assert fault.hint == "put some of them into a Struct, or mark the function @inline"
