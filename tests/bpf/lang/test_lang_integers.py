"""The rules of integers, by `evaluate`: the reference that compiled programs agree with."""

import itertools
import linecache
from typing import Any

import pytest

from beewire.bpf.lang import World, evaluate
from beewire.bpf.lang.reference import run
from beewire.errors import BeewireError, CompileError

M64 = (1 << 64) - 1
_numbers = itertools.count()


def function(text: str) -> Any:
    """The function called `f` of this source."""
    source = (
        "from beewire.bpf.lang import *\nfrom beewire.bpf.lang.calls import *\n" + text
    )
    filename = f"<integers {next(_numbers)}>"
    lines = source.splitlines(keepends=True)
    linecache.cache[filename] = (len(source), None, lines, filename)
    names: dict[str, Any] = {"__name__": "integers"}
    exec(compile(source, filename, "exec"), names)
    return names["f"]


# expression over a, b; their type; their values; the type of the result; the result
EXPRESSIONS = [
    ("a + b", "u64", (M64, 1), "u64", 0),
    ("a - b", "u64", (0, 1), "u64", M64),
    ("a * b", "u64", (1 << 63, 2), "u64", 0),
    ("a + b", "u8", (255, 1), "u64", 256),
    ("a + b", "u8", (255, 1), "u8", 0),
    ("a + b", "i64", ((1 << 63) - 1, 1), "i64", -(1 << 63)),
    ("a // b", "i64", (-7, 2), "i64", -3),
    ("a % b", "i64", (-7, 2), "i64", -1),
    ("a // b", "i64", (7, -2), "i64", -3),
    ("a % b", "i64", (7, -2), "i64", 1),
    ("a // b", "i64", (-(1 << 63), -1), "i64", -(1 << 63)),
    ("a % b", "i64", (-(1 << 63), -1), "i64", 0),
    ("a // b", "u64", (7, 0), "u64", 0),
    ("a % b", "u64", (7, 0), "u64", 7),
    ("a // b", "i64", (-7, 0), "i64", 0),
    ("a % b", "i64", (-7, 0), "i64", -7),
    ("a << b", "u64", (1, 64), "u64", 1),
    ("a << b", "u64", (1, 63), "u64", 1 << 63),
    ("a << b", "u32", (1, 33), "u64", 2),
    ("a << b", "u32", (1 << 31, 1), "u64", 1 << 32),
    ("a >> b", "i32", (-8, 1), "i64", -4),
    ("a >> b", "i32", (-8, 33), "i64", -4),
    ("a >> b", "u64", (1 << 63, 63), "u64", 1),
    ("a >> b", "i64", (-1, 70), "i64", -1),
    ("-a", "u8", (1, 0), "i64", -1),
    ("~a", "u8", (0, 0), "u64", M64),
    ("~a", "i8", (0, 0), "i64", -1),
    ("a & -8", "u32", (15, 0), "u64", 8),
    ("a < b", "i32", (-1, 1), "bool", 1),
    ("a < b", "u32", (0xFFFFFFFF, 1), "bool", 0),
    ("a < b < 10", "u32", (1, 9), "bool", 1),
    ("a < b < 10", "u32", (1, 11), "bool", 0),
    ("a and b", "u32", (0, 5), "u64", 0),
    ("a and b", "u32", (3, 5), "u64", 5),
    ("a or b", "u32", (0, 5), "u64", 5),
    ("a if b else 7", "u32", (1, 0), "u64", 7),
    ("min(a, b, 4)", "i32", (-1, 9), "i64", -1),
    ("max(a, b)", "u32", (3, 9), "u64", 9),
    ("a in (1, 2, 3)", "u32", (3, 0), "bool", 1),
    ("a not in (1, b)", "u32", (3, 3), "bool", 0),
    ("a in range(2, b)", "u32", (2, 3), "bool", 1),
    ("a in range(b)", "u32", (3, 3), "bool", 0),
    ("not a", "u32", (0, 0), "bool", 1),
    ("u8(a)", "u32", (0x1FF, 0), "u64", 0xFF),
    ("i8(a)", "u32", (0xFF, 0), "i64", -1),
    ("htons(a)", "u32", (0x1234, 0), "u64", 0x3412),
    ("htonl(a)", "u32", (0x12345678, 0), "u64", 0x78563412),
    ("7 // -2", "u32", (0, 0), "i64", -3),
    ("-7 % 3", "u32", (0, 0), "i64", -1),
    ("1 << 63", "u32", (0, 0), "u64", 1 << 63),
    ("a ** 2", "u32", (7, 0), "u64", 49),
]


@pytest.mark.parametrize(
    ("expression", "kind", "values", "result", "expected"),
    EXPRESSIONS,
    ids=[f"{e[1]}: {e[0]} of {e[2]} as {e[3]}" for e in EXPRESSIONS],
)
def test_expression(
    expression: str, kind: str, values: tuple[int, int], result: str, expected: int
) -> None:
    f = function(f"def f(a: {kind}, b: {kind}) -> {result}:\n    return {expression}\n")

    assert evaluate(f, *values) == expected


BODIES = {
    "an annotated name narrows": ("x: u8 = a\nx += 1\nreturn x", 255, 0),
    "a plain name does not": ("x = a\nx += 1\nreturn x", 255, 256),
    "while, break, else": (
        (
            "n = 0\nwhile n < a:\n    n += 1\n    if n == 5:\n        break\n"
            "else:\n    n = 100\nreturn n"
        ),
        9,
        5,
    ),
    "while without break runs else": (
        "n = 0\nwhile n < a:\n    n += 1\nelse:\n    n = 100\nreturn n",
        3,
        100,
    ),
    "for with continue": (
        "n = 0\nfor i in range(a):\n    if i % 2:\n        continue\n    n += i\nreturn n",
        6,
        6,
    ),
    "for backwards": (
        "n = 0\nfor i in range(3, -1, -1):\n    n = n * 10 + u64(i)\nreturn n",
        0,
        3210,
    ),
    "the loop variable stays after the loop": (
        "for i in range(4):\n    pass\nreturn i",
        0,
        3,
    ),
    "the end of a range is taken once": (
        "n = a\nc = 0\nfor i in range(n):\n    n = 0\n    c += 1\nreturn c",
        3,
        3,
    ),
    "match with alternatives": (
        (
            "match a:\n    case 1 | 2:\n        return 10\n    case 3 if a > 5:\n"
            "        return 11\n    case n if n > 100:\n        return n\n"
            "    case _:\n        return 12"
        ),
        2,
        10,
    ),
    "match with a failing guard": (
        "match a:\n    case 3 if a > 5:\n        return 11\n    case _:\n        return 12",
        3,
        12,
    ),
    "match that binds": (
        "match a:\n    case n if n > 100:\n        return n\n    case _:\n        return 0",
        101,
        101,
    ),
    "walrus": ("if (x := a + 1) > 3:\n    return x\nreturn 0", 3, 4),
    "swap": ("x = a\ny = 2\nx, y = y, x\nreturn x * 10 + y", 1, 21),
    "chain of assignments": ("x = y = a\nreturn x + y", 4, 8),
    "a literal that becomes signed": (
        "x = 0\ny: i64 = -5\nif y < x:\n    x = y\nreturn u64(x + 6)",
        0,
        1,
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_body(name: str) -> None:
    body, argument, expected = BODIES[name]
    lines = "".join(f"    {line}\n" for line in body.splitlines())

    assert evaluate(function(f"def f(a: u32) -> u64:\n{lines}"), argument) == expected


def test_functions_call_functions() -> None:
    f = function(
        "def g(n: u8, *, by: u32 = 3) -> u32:\n    return n * by\n"
        "def f(a: u32) -> u32:\n    return g(a) + g(1, by=a)\n"
    )

    assert evaluate(f, 0x102) == 2 * 3 + 0x102


def test_fault_is_a_compile_error() -> None:
    with pytest.raises(CompileError, match="'/' makes a float"):
        evaluate(function("def f(a: u32) -> u32:\n    return a / 2\n"), 1)


@pytest.mark.parametrize(
    "cast", ["u8(300)", "u32(-1)", "i8(200)", "ntohs(be16(70000))"]
)
def test_a_literal_outside_the_type_that_it_is_converted_to_is_refused(
    cast: str,
) -> None:
    with pytest.raises(CompileError, match="does not fit"):
        evaluate(function(f"def f(a: u32) -> i64:\n    return i64({cast})\n"), 1)


LOOPS = {
    "while": "while a > 0:\n    a |= 1",
    "for": "for i in range(a << 40):\n    pass",
    "nested": "for i in range(a):\n    for j in range(60):\n        pass",
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_are_bounded_as_in_the_kernel(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "MAX_ROUNDS", 100)
    lines = "".join(f"    {line}\n" for line in LOOPS[name].splitlines())
    f = function(f"def f(a: u32) -> u32:\n{lines}    return a\n")

    assert evaluate(f, 0) == 0
    with pytest.raises(BeewireError, match=r"ends f\(\) after 100 rounds"):
        evaluate(f, 7)


def test_number_of_arguments_is_checked() -> None:
    with pytest.raises(BeewireError, match="takes 1 integers, not 2"):
        evaluate(function("def f(a: u32) -> u32:\n    return a\n"), 1, 2)


def test_what_a_helper_answers_is_asked_of_the_world() -> None:
    f = function("def f(a: u32) -> u64:\n    return ktime_ns() + a\n")

    assert evaluate(f, 1, world=World({"ktime_ns": 5})) == 6
    with pytest.raises(BeewireError, match="what ktime_ns\\(\\) answers"):
        evaluate(f, 1)


# source, arguments, result: be parameters and results are the numbers they stand for
ORDERED = [
    ("def f(a: be16) -> be16:\n    return a", (80,), 80),
    ("def f(a: be16) -> u16:\n    return ntohs(a)", (80,), 80),
    ("def f(a: u16) -> be16:\n    return be16(a)", (80,), 80),
    ("def f(a: u16) -> be16:\n    return htons(a + 1)", (80,), 81),
    ("def f(a: be16) -> bool:\n    return a == htons(80)", (80,), 1),
    ("def f(a: be16) -> bool:\n    return a == be16(443)", (80,), 0),
    ("def f(a: be32) -> be32:\n    return ~a & be32(0xFF00)", (0x1200,), 0xED00),
    ("def f(a: be64) -> u64:\n    return bswap64(a) + 1", (1 << 40,), (1 << 40) + 1),
    (
        "def f(a: be16) -> be16:\n    b = 0\n    if a:\n        b = a\n    return b",
        (7,),
        7,
    ),
    (
        "def f(a: u16) -> u64:\n    b = htons(a)\n    b = b + 1\n    return b",
        (0xFF,),
        0xFF01,
    ),
]


@pytest.mark.parametrize(("text", "given", "result"), ORDERED)
def test_numbers_in_network_order(
    text: str, given: tuple[int, ...], result: int
) -> None:
    assert evaluate(function(text), *given) == result
