"""Small counted loops are written out: before and after."""

from collections.abc import Callable

import pytest

from beewire.bpf import codegen, ir
from beewire.bpf.codegen.seldom import small_loops
from beewire.bpf.codegen.simplify import simplify
from beewire.bpf.codegen.ssa import ssa
from beewire.bpf.codegen.tidy import tidy
from tests.bpf.codegen import reference
from tests.bpf.codegen.memory import CTX, Memory
from tests.bpf.codegen.processor import Processor

Rewrite = Callable[..., str]
PASSES = (tidy, ssa, simplify, small_loops)

READS = """
    block a:
      %1: ptr = load u32 ctx [ctx]
      set sum, 0
      set i, 0
      jump body
    block body:
      %2 = get i
      %3 = binary add64 %1, %2
      %4 = load u8 packet [%3]
      %5 = get sum
      %6 = binary add64 %5, %4
      set sum, %6
      {middle}
      %7 = binary add64 %2, {step}
      set i, %7
      branch {test} -> body, done
    block done:
      %8 = get sum
      return %8
    """


@pytest.mark.parametrize(
    ("step", "test", "rounds"),
    [
        ("1", "ult64 %7, 4", 4),
        ("2", "ult64 %7, 5", 3),
        ("1", "ne64 %7, 1", 1),
        ("1", "ule64 %2, 3", 5),
        ("-1", "sgt64 %7, -6", 6),
        ("1", "ult64 %7, 200", 1),
    ],
)
def test_each_round_is_written_out(
    rewrite: Rewrite, step: str, test: str, rounds: int
) -> None:
    made = rewrite(READS.format(step=step, test=test, middle=""), *PASSES)

    assert made.count("load u8") == rounds
    assert ("phi" in made) is ("200" in test)


def test_a_loop_with_a_call_stays(rewrite: Rewrite) -> None:
    text = READS.format(step="1", test="ult64 %7, 4", middle="%9 = call helper 5 ()")

    made = rewrite(text, *PASSES)

    assert made.count("load u8") == 1


def test_what_a_round_knows_at_its_way_out_decides_the_test_there(
    rewrite: Rewrite,
) -> None:
    text = """
        block a:
          %1: ptr = load u32 ctx [ctx]
          set count, 0
          jump body
        block body:
          %2 = get count
          %3 = binary add64 %1, %2
          %4 = load u8 packet [%3]
          branch eq64 %4, 0 -> done, again
        block again:
          %5 = get count
          %6 = binary add64 %5, 1
          set count, %6
          branch ult64 %6, 3 -> body, done
        block done:
          %7 = get count
          branch eq64 %7, 0 -> none, some
        block none:
          return 7
        block some:
          %8 = get count
          return %8
        """

    made = rewrite(text, *PASSES)

    assert made.count("load u8") == 3
    assert "branch eq64 %2, 0 -> none" in made
    assert made.count("branch") == 3
    assert "(1, 2, 3)" in made


def test_a_value_leaves_by_the_way_out_of_its_round(rewrite: Rewrite) -> None:
    text = """
        block a:
          %1: ptr = load u32 ctx [ctx]
          set i, 0
          jump body
        block body:
          %2 = get i
          %3 = binary add64 %1, %2
          %4 = load u8 packet [%3]
          branch ugt64 %4, 9 -> found, again
        block again:
          %5 = get i
          %6 = binary add64 %5, 1
          set i, %6
          branch ult64 %6, 2 -> body, done
        block found:
          return %4
        block done:
          return 0
        """

    made = rewrite(text, *PASSES)

    assert made.count("load u8") == 2
    assert "phi left (%2, %4)" in made


EXITS = """
    block a:
      %1 = load u64 ctx [ctx]
      set sum, 0
      set last, 3
      set count, 0
      set i, {first}
      jump body
    block body:
      %2 = get i
      %3 = binary lshr64 %1, %2
      %4 = binary and64 %3, 15
      branch eq64 %4, 7 -> found, more
    block more:
      branch ugt64 %4, {limit} -> done, again
    block again:
      %5 = get sum
      %6 = binary mul64 %5, 3
      %7 = binary add64 %6, %4
      set sum, %7
      %8 = get last
      %9 = binary xor64 %8, %2
      set last, %9
      %10 = get count
      %11 = binary add64 %10, 1
      set count, %11
      %12 = binary add64 %2, {step}
      set i, %12
      branch {test} -> body, done
    block found:
      %13 = get sum
      %14 = binary add64 %13, %3
      return %14
    block done:
      %15 = get count
      branch eq64 %15, {tested} -> none, some
    block none:
      %16 = get last
      %17 = binary add64 %16, 1000
      return %17
    block some:
      %18 = get sum
      %19 = get last
      %20 = binary add64 %18, %19
      %21 = get count
      %22 = binary mul64 %20, %21
      return %22
    """


@pytest.mark.parametrize("tested", [0, 2, 5])
@pytest.mark.parametrize(
    ("first", "step", "test"),
    [
        (0, 4, "ult64 %12, 28"),
        (32, -4, "ne64 %12, 0"),
        (0, 4, "ult64 %2, 16"),
        (8, 4, "sle32 %12, 24"),
        (0, 4, "ult64 %12, 4"),
    ],
)
def test_loops_give_what_they_gave(
    first: int, step: int, test: str, tested: int
) -> None:
    text = EXITS.format(first=first, step=step, test=test, tested=tested, limit=11)
    text = f"function f(ctx: ptr)\n{text}"
    code = codegen.generate(ir.parse_function(text))

    for value in (
        0,
        0x7,
        0x1234567,
        0x12F4567,
        0x123456F,
        0x88888888,
        0xF,
        0xC0,
        0xD000,
    ):
        ctx = value.to_bytes(8, "little").ljust(64, b"\0")
        wanted = reference.run(ir.parse_function(text), Memory(ctx), (CTX,))
        assert Processor(code, Memory(ctx), (CTX,)).run() == wanted
