"""Passes over the control flow and the locals: before and after."""

from collections.abc import Callable

import pytest

from beewire.bpf.codegen.promote import promote
from beewire.bpf.codegen.ssa import ssa
from beewire.bpf.codegen.tidy import tidy
from beewire.bpf.codegen.words import words
from beewire.errors import SpecError

Rewrite = Callable[..., str]
Same = Callable[[str, str], bool]


def test_a_known_test_is_gone_past(rewrite: Rewrite, same: Same) -> None:
    made = rewrite(
        """
        block a:
          branch eq64 ctx, 0 -> b, c
        block b:
          set ok, 0
          jump join
        block c:
          set ok, 1
          jump join
        block join:
          %1 = get ok
          branch ne64 %1, 0 -> yes, no
        block yes:
          return 1
        block no:
          return 0
        """,
        tidy,
    )

    assert same(
        made,
        """
        block a:
          branch eq64 ctx, 0 -> b, c
        block b:
          set ok, 0
          return 0
        block c:
          set ok, 1
          return 1
        """,
    )


def test_a_counting_loop_tests_at_its_end(rewrite: Rewrite, same: Same) -> None:
    made = rewrite(
        """
        block a:
          set i, 0
          jump head
        block head:
          %1 = get i
          branch ult64 %1, 4 -> body, done
        block body:
          %2 = call helper 5 ()
          %3 = get i
          %4 = binary add64 %3, 1
          set i, %4
          jump head
        block done:
          return 0
        """,
        tidy,
    )

    assert same(
        made,
        """
        block a:
          set i, 0
          jump body
        block body:
          %1 = call helper 5 ()
          %2 = get i
          %3 = binary add64 %2, 1
          set i, %3
          %4 = get i
          branch ult64 %4, 4 -> body, done
        block done:
          return 0
        """,
    )


def test_a_test_whose_values_are_used_later_stays(rewrite: Rewrite, same: Same) -> None:
    text = """
        block a:
          set i, 0
          jump head
        block head:
          %1 = get i
          branch ult64 %1, 4 -> body, done
        block body:
          %2 = binary add64 %1, 1
          set i, %2
          jump head
        block done:
          return %1
        """

    assert same(rewrite(text, tidy), text)


def test_equal_returns_become_one(rewrite: Rewrite, same: Same) -> None:
    made = rewrite(
        """
        block a:
          branch eq64 ctx, 0 -> b, c
        block b:
          %1 = call helper 5 ()
          return 1
        block c:
          return 1
        """,
        tidy,
    )

    assert same(
        made,
        """
        block a:
          branch eq64 ctx, 0 -> b, c
        block b:
          %1 = call helper 5 ()
          jump c
        block c:
          return 1
        """,
    )


def test_empty_blocks_are_gone_past(rewrite: Rewrite, same: Same) -> None:
    made = rewrite(
        """
        block a:
          branch eq64 ctx, 0 -> b, c
        block b:
          jump d
        block c:
          jump d
        block d:
          return 7
        """,
        tidy,
    )

    assert same(made, "block a:\nreturn 7")


def test_unreachable_blocks_go(rewrite: Rewrite, same: Same) -> None:
    made = rewrite("block a:\n  return 0\nblock b:\n  jump b", tidy)

    assert same(made, "block a:\nreturn 0")


def test_an_empty_endless_loop_stays(rewrite: Rewrite, same: Same) -> None:
    made = rewrite("block a:\n  jump b\nblock b:\n  jump b", tidy)

    assert same(made, "block a:\njump b\nblock b:\njump b")


def test_locals_are_joined_by_phis(rewrite: Rewrite, same: Same) -> None:
    made = rewrite(
        """
        block a:
          set n, 1
          set m, 5
          branch eq64 ctx, 0 -> b, c
        block b:
          set n, 2
          jump c
        block c:
          %1 = get n
          %2 = get m
          %3 = binary add64 %1, %2
          return %3
        """,
        ssa,
    )

    assert same(
        made,
        """
        block a:
          branch eq64 ctx, 0 -> b, c
        block b:
          jump c
        block c:
          %1 = phi n (1, 2)
          %2 = binary add64 %1, 5
          return %2
        """,
    )


def test_a_loop_that_leaves_a_local_alone_needs_no_phi(
    rewrite: Rewrite, same: Same
) -> None:
    made = rewrite(
        """
        block a:
          %1 = load u32 ctx [ctx]
          set n, %1
          jump b
        block b:
          %2 = get n
          branch eq64 %2, 0 -> b, c
        block c:
          %3 = get n
          return %3
        """,
        ssa,
    )

    assert same(
        made,
        """
        block a:
          %1 = load u32 ctx [ctx]
          jump b
        block b:
          branch eq64 %1, 0 -> b, c
        block c:
          return %1
        """,
    )


def test_a_local_read_before_it_is_set_is_refused(rewrite: Rewrite) -> None:
    with pytest.raises(SpecError, match="may read 'n' before it is set"):
        rewrite("block a:\n  %1 = get n\n  return %1", ssa)


def test_copies_move_words_of_their_alignment(rewrite: Rewrite, same: Same) -> None:
    made = rewrite(
        """
        slot to: 12 align 4
        block a:
          copy 10 stack [&to], packet [ctx+2] align 4
          %1 = call helper 5 (&to)
          return 0
        """,
        words,
    )

    assert same(
        made,
        """
        slot to: 12 align 8
        block a:
          %1 = load u32 packet [ctx+2]
          store u32 stack [&to], %1
          %2 = load u32 packet [ctx+6]
          store u32 stack [&to+4], %2
          %3 = load u16 packet [ctx+10]
          store u16 stack [&to+8], %3
          %4 = call helper 5 (&to)
          return 0
        """,
    )


def test_the_context_is_copied_by_four_bytes_at_most(
    rewrite: Rewrite, same: Same
) -> None:
    made = rewrite("block a:\n  zero 8 ctx [ctx+8] align 8\n  return 0", words)

    assert same(
        made,
        """
        block a:
          store u32 ctx [ctx+8], 0
          store u32 ctx [ctx+12], 0
          return 0
        """,
    )


def test_a_private_slot_becomes_locals(rewrite: Rewrite, same: Same) -> None:
    made = rewrite(
        """
        slot pair: 8 align 8
        block a:
          %1 = load u64 ctx [ctx]
          store u32 stack [&pair], %1
          store u32 stack [&pair+4], 3
          %2 = load u32 stack [&pair]
          %3 = load i32 stack [&pair+4]
          %4 = binary add64 %2, %3
          return %4
        """,
        promote,
        ssa,
    )

    assert same(
        made,
        """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = extend u32 %1
          %3 = extend u32 3
          %4 = extend i32 %3
          %5 = binary add64 %2, %4
          return %5
        """,
    )


def test_a_slot_that_a_helper_sees_stays(rewrite: Rewrite, same: Same) -> None:
    text = """
        slot key: 4 align 4
        block a:
          store u32 stack [&key], 1
          %1 = call helper 1 (map m, &key)
          %2 = load u32 stack [&key]
          return %2
        """

    assert same(rewrite(text, promote), text)


def test_bytes_that_are_accessed_in_two_ways_stay(rewrite: Rewrite, same: Same) -> None:
    text = """
        slot word: 8 align 8
        block a:
          store u64 stack [&word], 1
          %1 = load u32 stack [&word+4]
          return %1
        """

    assert same(rewrite(text, promote), text)
