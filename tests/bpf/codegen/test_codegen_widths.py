"""Passes that choose widths, divisions and units: before and after."""

from collections.abc import Callable

import pytest

from beewire.bpf.codegen.dead import dead
from beewire.bpf.codegen.demand import demand
from beewire.bpf.codegen.divide import divide
from beewire.bpf.codegen.fuse import fuse
from beewire.bpf.codegen.lower import lower
from beewire.bpf.codegen.scale import scale
from beewire.bpf.codegen.simplify import simplify
from beewire.bpf.codegen.ssa import ssa

Rewrite = Callable[..., str]
Same = Callable[[str, str], bool]


def test_a_mask_and_its_test_are_one(rewrite: Rewrite) -> None:
    made = rewrite(
        """
        block a:
          %1 = load u32 ctx [ctx]
          %2 = binary and64 %1, 4
          branch eq64 %2, 0 -> b, c
        block b:
          return 1
        block c:
          return 0
        """,
        ssa,
        simplify,
        fuse,
    )

    assert "branch clear64 %1, 4 -> b, c" in made
    assert "and64" not in made


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("%2 = byteswap 16 %1\nbranch eq64 %2, 2048 -> b, c", "eq64 %1, 8"),
        ("%2 = binary sub64 %1, %9\nbranch ne64 %2, 0 -> b, c", "ne64 %1, %2"),
        ("%2 = binary sub64 7, %1\nbranch eq64 %2, 0 -> b, c", "eq64 %1, 7"),
    ],
)
def test_what_is_only_compared_is_compared_before_it_is_computed(
    rewrite: Rewrite, before: str, after: str
) -> None:
    made = rewrite(
        f"""
        block a:
          %1 = load u16 ctx [ctx+4]
          %9 = load u16 ctx [ctx+6]
          {before}
        block b:
          return %9
        block c:
          return 0
        """,
        ssa,
        simplify,
        fuse,
    )

    assert f"branch {after} -> b, c" in made


@pytest.mark.parametrize("made_by", ["byteswap 16 %1", "binary sub64 7, %1"])
def test_what_is_used_again_is_compared_itself(rewrite: Rewrite, made_by: str) -> None:
    made = rewrite(
        f"""
        block a:
          %1 = load u16 ctx [ctx+4]
          %2 = {made_by}
          branch ne64 %2, 0 -> b, c
        block b:
          %3 = binary add64 %2, -1
          return %3
        block c:
          return 0
        """,
        ssa,
        simplify,
        fuse,
    )

    assert "branch ne64 %2, 0 -> b, c" in made


def test_extended_values_are_compared_by_halves(rewrite: Rewrite) -> None:
    made = rewrite(
        """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = extend i32 %1
          branch slt64 %2, -5 -> b, c
        block b:
          return 1
        block c:
          return 0
        """,
        ssa,
        simplify,
        fuse,
    )

    assert "branch slt32 %1, -5 -> b, c" in made
    assert "extend" not in made


def test_a_signed_word_is_tested_without_its_sign(rewrite: Rewrite) -> None:
    made = rewrite(
        """
        block a:
          %1 = load i32 ctx [ctx]
          branch eq64 %1, -1 -> b, c
        block b:
          return 1
        block c:
          return 0
        """,
        ssa,
        simplify,
        fuse,
    )

    assert "load u32 ctx" in made
    assert "branch eq32 %1, -1 -> b, c" in made


def test_an_extended_value_that_is_used_again_is_compared_itself(
    rewrite: Rewrite, same: Same
) -> None:
    text = """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = extend u32 %1
          branch ult64 %2, 5 -> b, c
        block b:
          return %2
        block c:
          return 0
        """

    assert same(rewrite(text, ssa, simplify, fuse), text)


def test_a_sum_that_is_cut_to_half_is_computed_in_half(rewrite: Rewrite) -> None:
    made = rewrite(
        """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = binary add64 %1, 1
          %3 = extend u32 %2
          return %3
        """,
        ssa,
        simplify,
        demand,
        dead,
    )

    assert "binary add32 %1, 1" in made
    assert "extend" not in made


def test_a_sum_that_is_also_wanted_whole_is_computed_once(
    rewrite: Rewrite, same: Same
) -> None:
    text = """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = binary add64 %1, 1
          %3 = extend u32 %2
          %4 = binary xor64 %2, %3
          return %4
        """

    assert same(rewrite(text, ssa, simplify, demand, dead, fuse), text)


def test_a_mask_that_nobody_notices_leaves_the_extension_behind(
    rewrite: Rewrite, same: Same
) -> None:
    text = """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = binary and64 %1, 4294967295
          %3 = extend u32 %2
          return %3
        """

    assert same(
        rewrite(text, ssa, demand, dead),
        """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = extend u32 %1
          return %2
        """,
    )


def test_tests_that_share_an_extension_compare_halves(rewrite: Rewrite) -> None:
    text = """
        block a:
          %1 = load i32 ctx [ctx]
          branch eq64 %1, 7 -> yes, b
        block b:
          branch eq64 %1, -3 -> yes, no
        block yes:
          return 1
        block no:
          return 0
        """
    made = rewrite(text, ssa, fuse)

    assert "load u32" in made
    assert "branch eq32 %1, 7" in made
    assert "branch eq32 %1, -3" in made
    assert "load i32" in rewrite(text, ssa, fuse, level=2)


def test_an_unsigned_test_needs_the_sign_extension(rewrite: Rewrite) -> None:
    made = rewrite(
        """
        block a:
          %1 = load i32 ctx [ctx]
          branch eq64 %1, 7 -> yes, b
        block b:
          branch ult64 %1, 9 -> yes, no
        block yes:
          return 1
        block no:
          return 0
        """,
        ssa,
        fuse,
    )

    assert "load i32" in made


def test_bits_that_nobody_looks_at_are_not_cleared(
    rewrite: Rewrite, same: Same
) -> None:
    made = rewrite(
        """
        block a:
          %1 = load i16 ctx [ctx]
          %2 = extend u16 %1
          %3 = binary add64 %2, 7
          %4 = binary and64 %3, 240
          store u8 ctx [ctx+8], %4
          return 0
        """,
        ssa,
        demand,
        dead,
    )

    assert same(
        made,
        """
        block a:
          %1 = load u16 ctx [ctx]
          %2 = binary add32 %1, 7
          %3 = binary and32 %2, 240
          store u8 ctx [ctx+8], %3
          return 0
        """,
    )


def test_a_loop_of_one_block_wants_its_own_value_whole(
    rewrite: Rewrite, same: Same
) -> None:
    text = """
        block a:
          jump b
        block b:
          %2 = phi n (0, %1)
          %3 = load u64 ctx [ctx]
          %1 = extend u16 %3
          store u8 ctx [ctx+8], %1
          branch ult64 %2, 100 -> b, c
        block c:
          return 0
        """

    assert same(rewrite(text, demand), text)


def test_what_a_test_looks_at_is_wanted_whole(rewrite: Rewrite, same: Same) -> None:
    text = """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = extend u8 %1
          store u8 ctx [ctx+8], %2
          branch ult64 %2, 100 -> b, b
        block b:
          return 0
        """

    assert same(rewrite(text, demand), text)


def test_signed_division_by_a_power_of_two_shifts(rewrite: Rewrite, same: Same) -> None:
    made = rewrite(
        """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = binary sdiv64 %1, 4
          return %2
        """,
        ssa,
        simplify,
        divide,
    )

    assert same(
        made,
        """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = binary ashr64 %1, 63
          %3 = binary lshr64 %2, 62
          %4 = binary add64 %1, %3
          %5 = binary ashr64 %4, 2
          return %5
        """,
    )


def test_signed_division_of_what_is_never_negative_is_unsigned(
    rewrite: Rewrite,
) -> None:
    made = rewrite(
        """
        block a:
          %1 = load u32 ctx [ctx]
          %2 = binary smod64 %1, 10
          return %2
        """,
        ssa,
        simplify,
        divide,
    )

    assert "binary umod64 %1, 10" in made


def test_v4_divides_by_itself(rewrite: Rewrite, same: Same) -> None:
    text = """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = binary sdiv64 %1, 4
          return %2
        """

    assert same(rewrite(text, ssa, simplify, divide, level=4), text)


def test_v2_adds_halves_in_64_bits(rewrite: Rewrite, same: Same) -> None:
    made = rewrite(
        """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = binary add32 %1, 1
          return %2
        """,
        lower,
        ssa,
        simplify,
        level=2,
    )

    assert same(
        made,
        """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = binary add64 %1, 1
          %3 = extend u32 %2
          return %3
        """,
    )


COUNTED = """
    block a:
      jump b
    block b:
      %1 = phi i (0, %2)
      %3: ptr = load u64 ctx [ctx]
      %4 = binary shl64 %1, 2
      %5 = binary add64 %3, %4
      store u32 map [%5], 7
      %2 = binary add64 %1, 1
      branch ult64 %2, 16 -> b, c
    block c:
      return 0
    """


def test_a_counter_counts_in_the_unit_of_the_array(
    rewrite: Rewrite, same: Same
) -> None:
    assert same(
        rewrite(COUNTED, scale),
        """
        block a:
          jump b
        block b:
          %2 = phi i (0, %1)
          %3: ptr = load u64 ctx [ctx]
          %4 = binary add64 %3, %2
          store u32 map [%4], 7
          %1 = binary add64 %2, 4
          branch ult64 %1, 64 -> b, c
        block c:
          return 0
        """,
    )


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("store u32 map [%5], 7", "store u32 map [%5], %1"),
        ("branch ult64 %2, 16", "branch ult64 %2, %3"),
        ("branch ult64 %2, 16", "branch ult64 %2, 99999999999"),
        ("binary shl64 %1, 2", "binary shl64 3, %1"),
    ],
)
def test_a_counter_that_serves_something_else_keeps_its_unit(
    rewrite: Rewrite, line: str, other: str
) -> None:
    text = COUNTED.replace(line, other)

    assert rewrite(text, scale) == rewrite(text)
