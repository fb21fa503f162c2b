"""Small counted loops are written out: before and after."""

from collections.abc import Callable

import pytest

from beewire.bpf.codegen.seldom import small_loops
from beewire.bpf.codegen.simplify import simplify
from beewire.bpf.codegen.ssa import ssa
from beewire.bpf.codegen.tidy import tidy

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
