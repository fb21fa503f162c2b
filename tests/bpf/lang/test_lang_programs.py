"""Whole programs in the running kernel: what they leave in structs, maps and globals."""

from collections.abc import Mapping
from textwrap import dedent, indent
from typing import Any

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from beewire.bpf import Loaded, Target, collect, load
from beewire.errors import CompileError, KernelError
from tests.bpf.fuzz.program import ARGUMENTS, inputs
from tests.bpf.lang import random_programs
from tests.bpf.lang.test_lang_kernel import cell

pytestmark = pytest.mark.kernel

FIELDS = [*random_programs.FIELDS, *random_programs.ARRAYS]

# Of the stack, or for the verifier: a random program is refused for nothing else.
TOO_MUCH = ("bytes of stack", "too many", "too large", "too complex", "longer than")


def fields(value: Any) -> list[Any]:
    return [getattr(value, name) for name in FIELDS]


def left_behind(loaded: Loaded, names: Mapping[str, Any]) -> dict[str, Any]:
    """What a program of `random_programs` leaves in the kernel."""
    return {
        "result": loaded[names["results"]][0],
        "table": dict(loaded[names["table"]]),
        "slots": dict(loaded[names["slots"]]),
        "small": {key: sum(each) for key, each in loaded[names["small"]].items()},
        "kept": [fields(loaded[names["kept"]][i]) for i in range(2)],
        "counter": loaded.globals["counter"],
        "delta": loaded.globals["delta"],
    }


def predicted(model: str, arguments: list[int]) -> dict[str, Any]:
    """What the model of the same program leaves behind."""
    names: dict[str, Any] = {}
    exec(compile(model, "<model>", "exec"), names)
    return {
        "result": names["target"](*arguments),
        **{name: names[name] for name in ("table", "slots", "small")},
        "kept": [fields(names["kept"][i]) for i in range(2)],
        "counter": names["counter"].value,
        "delta": names["delta"].value,
    }


@given(seed=st.integers(0, 1 << 32), level=st.sampled_from((1, 2, 3, 4)))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
def test_compiled_programs_agree_with_their_models(seed: int, level: int) -> None:
    text, model = random_programs.source(seed)
    names = cell(text)
    packet = inputs(seed, 1)[0].packet
    arguments = list(ARGUMENTS.unpack_from(packet))
    expected = predicted(model, arguments)
    try:
        loaded = load(collect([names["program"]], target=Target(level)))
    except (CompileError, KernelError) as error:
        if not any(words in str(error) for words in TOO_MUCH):
            raise
        reject()

    with loaded:
        loaded[names["program"]].live.test_run(data_in=packet)

        assert left_behind(loaded, names) == expected


VALUES = """
from beewire.bpf import *
class Part(Struct):
    x: u32
class Whole(Struct):
    a: u32
    words: list[int] = array(u32, 2)
    parts: list[Part] = array(Part, 2)
    part: Part
results = Array[u64](3)
wholes = Array[Whole](3)
table = HashMap[u32, u64](8)
def bump(what: Whole) -> u32:
    what.a += 1
    what.words[0] += 10
    what.part.x += 100
    return what.a
def both(a: u32, b: u32) -> u32:
    return a * 10 + b
@xdp
def program(ctx: XdpContext) -> XdpAction:
"""
WRITTEN = {
    "copies are exchanged": (
        """
        s = Whole(a=1, words=[1, 2])
        t = Whole(a=2, words=[3, 4])
        s, t = t.copy(), s.copy()
        results[0] = s.words[0]
        results[1] = t.words[0]
        """,
        [3, 1, 0],
    ),
    "structs in an array are exchanged": (
        """
        s = Whole()
        s.parts[0].x, s.parts[1].x = 1, 2
        s.parts = [s.parts[1], s.parts[0]]
        results[0] = s.parts[0].x
        results[1] = s.parts[1].x
        """,
        [2, 1, 0],
    ),
    "a copy is taken before the key is computed": (
        """
        s = Whole(a=0, words=[1, 2])
        wholes[bump(s)] = s.copy()
        if (kept := wholes.lookup(1)) is not None:
            results[0] = kept.words[0]
        """,
        [1, 0, 0],
    ),
    "a copy is taken before the next field is computed": (
        """
        s = Whole(words=[1, 2])
        t = Whole(part=s.part.copy(), a=bump(s))
        results[0] = t.part.x
        """,
        [0, 0, 0],
    ),
    "a key is computed before the value of an update": (
        """
        s = Whole(a=0)
        table.update(bump(s), s.a + 5)
        table.insert(s.a + 1, bump(s))
        if (one := table.lookup(1)) is not None:
            results[0] = one.value
        if (two := table.lookup(2)) is not None:
            results[1] = two.value
        """,
        [6, 2, 0],
    ),
    "what a test says holds in the rest of a value": (
        """
        one = table.lookup(1)
        table[2] = 7
        two = table.lookup(2)
        results[0] = one is not None and one.value
        results[1] = (two is not None and two.value) or 3
        results[2] = two is None or two.value + 1
        """,
        [0, 7, 8],
    ),
    "arguments are computed as they are written": (
        """
        s = Whole(a=1)
        results[0] = both(b=bump(s), a=s.a)
        results[1] = both(s.a, bump(s))
        """,
        [22, 23, 0],
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_values_are_those_of_the_moment(name: str) -> None:
    body, expected = WRITTEN[name]
    lines = indent(dedent(body), "    ")
    names = cell(f"{VALUES}{lines}    return XdpAction.PASS\n")

    with load([names["program"]]) as loaded:
        loaded[names["program"]].live.test_run(data_in=bytes(20))
        results = loaded[names["results"]]

        assert [results[i] for i in range(3)] == expected


def test_what_a_program_returns_is_narrowed_as_it_says() -> None:
    names = cell(
        """
from beewire.bpf import *
@xdp
def program(ctx: XdpContext) -> u8:
    return ctx.length + 200
"""
    )

    with load([names["program"]]) as loaded:
        live = loaded[names["program"]].live

        assert live.test_run(data_in=bytes(64)).retval == 8
