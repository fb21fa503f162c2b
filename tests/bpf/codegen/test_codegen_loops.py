"""What a loop need not do in every round: before and after."""

from collections.abc import Callable

import pytest

from beewire.bpf.codegen.invariant import invariant
from beewire.bpf.codegen.simplify import simplify
from beewire.bpf.codegen.ssa import ssa
from beewire.bpf.codegen.stack import stack
from beewire.bpf.codegen.tidy import tidy

Rewrite = Callable[..., str]

LOOP = """
    block a:
      %1 = load u64 ctx [ctx]
      %2 = load u64 ctx [ctx+8]
      set i, 0
      set sum, 0
      jump body
    block body:
{body}
      %9 = get i
      %10 = binary add64 %9, 1
      set i, %10
      branch ult64 %10, 8 -> body, done
    block done:
      %11 = get sum
      return %11
    """


def in_front(made: str) -> str:
    """What is computed before the loop."""
    return made.partition("block body")[0]


def test_what_is_the_same_in_every_round_is_computed_before(rewrite: Rewrite) -> None:
    body = """
      %3 = byteswap 32 %1
      %4 = binary xor64 %3, %2
      %5 = get sum
      %6 = binary add64 %5, %4
      set sum, %6
    """
    made = rewrite(LOOP.format(body=body), ssa, invariant)

    assert "byteswap 32" in in_front(made)
    assert "xor64" in in_front(made)
    assert "add64" not in in_front(made)


def test_what_the_loop_tests_stays_behind_the_test(rewrite: Rewrite) -> None:
    body = """
      branch ult64 %1, 16 -> inside, done
    block inside:
      %3 = binary shl64 %1, 3
      %5 = get sum
      %6 = binary add64 %5, %3
      set sum, %6
    """
    made = rewrite(LOOP.format(body=body), ssa, invariant)

    assert "shl64" not in in_front(made)


def test_a_global_is_read_once_where_nothing_writes_it(rewrite: Rewrite) -> None:
    body = """
      %3 = load u32 map [.bss+4]
      %5 = get sum
      %6 = binary add64 %5, %3
      set sum, %6
    """
    made = rewrite(LOOP.format(body=body), ssa, invariant)

    assert "load u32 map" in in_front(made)


def test_a_global_that_the_loop_may_write_is_read_in_every_round(
    rewrite: Rewrite,
) -> None:
    body = """
      %3 = load u32 map [.bss+4]
      %4 = binary add64 %3, 1
      store u32 map [.bss+4], %4
    """
    made = rewrite(LOOP.format(body=body), ssa, invariant)

    assert "load u32 map" not in in_front(made)


def test_a_flag_that_the_loop_waits_for_is_read_in_every_round(
    rewrite: Rewrite,
) -> None:
    body = """
      %3 = load u32 map [.bss+4]
      branch eq64 %3, 0 -> more, done
    block more:
      set sum, 1
    """
    made = rewrite(LOOP.format(body=body), ssa, invariant)

    assert "load u32 map" not in in_front(made)


def test_only_as_many_values_as_registers_are_kept_over_a_loop(
    rewrite: Rewrite,
) -> None:
    lines = []
    for i in range(12):
        lines += [
            f"%{20 + 3 * i} = binary mul64 %1, {i + 3}",
            f"%{21 + 3 * i} = get sum",
            f"%{22 + 3 * i} = binary xor64 %{21 + 3 * i}, %{20 + 3 * i}",
            f"set sum, %{22 + 3 * i}",
        ]
    made = rewrite(LOOP.format(body="\n".join(lines)), ssa, invariant)

    assert 0 < in_front(made).count("mul64") < 8


def test_a_loop_leaves_alone_what_it_does_not_write(rewrite: Rewrite) -> None:
    made = rewrite(
        """
        slot key: 16 align 8
        block a:
          %1 = load u64 ctx [ctx]
          store u64 stack [&key], %1
          store u64 stack [&key+8], 0
          jump body
        block body:
          %2 = load u64 stack [&key]
          %3 = load u64 stack [&key+8]
          %4 = binary add64 %3, %2
          store u64 stack [&key+8], %4
          branch ult64 %4, 100 -> body, done
        block done:
          %5 = call helper 1 (map m, &key)
          return 0
        """,
        ssa,
        stack,
    )

    loop = made.partition("block body")[2]
    assert "load u64 stack [&key]" not in loop
    assert "load u64 stack [&key+8]" in loop


def test_jumps_go_past_what_leads_to_a_known_test(rewrite: Rewrite) -> None:
    made = rewrite(
        """
        block a:
          %1 = load u64 ctx [ctx]
          branch eq64 %1, 0 -> b, c
        block b:
          set found, 1
          jump join
        block c:
          set found, 0
          jump join
        block join:
          %2 = get found
          set refuse, %2
          jump test
        block test:
          %3 = get refuse
          branch ne64 %3, 0 -> yes, no
        block yes:
          %4 = call helper 5 ()
          return 1
        block no:
          return 0
        """,
        tidy,
    )

    assert made.count("branch") == 1


RETESTED = """
    block a:
      %1: ptr = call helper 1 (map m, 0)
      set found, %1
      %2: ptr = get found
      branch eq64 %2, 0 -> make, have
    block make:
      %3: ptr = call helper 1 (map m, 1)
      set result, %3
      jump join
    block have:
      %4: ptr = get found
      set result, %4
      jump join
    block join:
      %5: ptr = get result
{between}
      branch eq64 %5, 0 -> none, some
    block none:
      return 1
    block some:
      %6: ptr = get result
      %7 = load u64 map [%6]
      return %7
    """


def test_a_pointer_that_was_tested_is_not_tested_again(rewrite: Rewrite) -> None:
    made = rewrite(RETESTED.format(between=""), tidy)

    have = made.partition("block have")[2].partition("block")[0]
    assert "jump some" in have
    assert made.count("branch") == 2


def test_a_value_that_its_local_lost_is_not_fetched_from_it(rewrite: Rewrite) -> None:
    made = rewrite(
        RETESTED.format(between="set result, 0\nset kept, %5"),
        tidy,
    )

    have = made.partition("block have")[2].partition("block")[0]
    assert "jump some" not in have


@pytest.mark.parametrize(
    ("start", "bound", "masked"), [(0, 16, False), (0, 17, True), (99, 16, True)]
)
def test_a_counter_below_its_bound_needs_no_mask(
    rewrite: Rewrite, start: int, bound: int, *, masked: bool
) -> None:
    made = rewrite(
        f"""
        block a:
          set i, {start}
          jump body
        block body:
          %1 = get i
          %2 = binary and64 %1, 15
          store u8 ctx [ctx], %2
          %3 = binary add64 %1, 1
          set i, %3
          branch ult64 %3, {bound} -> body, done
        block done:
          return 0
        """,
        ssa,
        simplify,
    )

    assert ("and64" in made) is masked
