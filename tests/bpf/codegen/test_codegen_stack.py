"""What becomes of stack slots: before and after."""

from collections.abc import Callable

from beewire.bpf.codegen.dead import dead
from beewire.bpf.codegen.simplify import simplify
from beewire.bpf.codegen.ssa import ssa
from beewire.bpf.codegen.stack import stack

Rewrite = Callable[..., str]
LOOKUP = "%9 = call helper 1 (map m, &key)\n  return 0"


def stored(rewrite: Rewrite, body: str, size: int = 16) -> list[str]:
    """The stores to a key of `size` bytes that a look-up then reads."""
    text = f"""
        slot key: {size} align 4
        block a:
          %1 = load u64 ctx [ctx]
          %2 = load u32 ctx [ctx+8]
          {body}
          {LOOKUP}
        """
    made = rewrite(text, ssa, simplify, stack, dead)
    return [line.strip() for line in made.splitlines() if "store" in line]


def test_neighbouring_constants_are_one_store(rewrite: Rewrite) -> None:
    body = "store u32 stack [&key], 1\n  store u32 stack [&key+4], 0"

    assert stored(rewrite, body, 8) == ["store u64 stack [&key], 1"]


def test_constants_that_no_imm_holds_stay_apart(rewrite: Rewrite) -> None:
    body = "store u32 stack [&key], 1\n  store u32 stack [&key+4], 2"

    assert len(stored(rewrite, body, 8)) == 2


def test_zeros_above_a_value_are_stored_with_it(rewrite: Rewrite) -> None:
    body = "store u32 stack [&key+4], 0\n  store u32 stack [&key], %2"

    assert stored(rewrite, body, 8) == ["store u64 stack [&key], %1"]


def test_a_value_that_does_not_fit_keeps_its_neighbours_apart(
    rewrite: Rewrite,
) -> None:
    body = "store u32 stack [&key+4], 0\n  store u32 stack [&key], %1"

    assert len(stored(rewrite, body, 8)) == 2


def test_what_is_overwritten_before_it_is_read_is_not_stored(rewrite: Rewrite) -> None:
    body = "store u64 stack [&key], 0\n  store u64 stack [&key], %1"

    assert stored(rewrite, body, 8) == ["store u64 stack [&key], %1"]


def test_clearing_that_a_value_cuts_into_stays_wide(rewrite: Rewrite) -> None:
    body = "store u64 stack [&key], 0\n  store u16 stack [&key+2], %1"

    assert stored(rewrite, body, 8) == [
        "store u64 stack [&key], 0",
        "store u16 stack [&key+2], %1",
    ]


def test_a_look_up_only_reads_its_key(rewrite: Rewrite) -> None:
    text = """
        slot key: 4 align 4
        block a:
          %1 = load u32 ctx [ctx]
          store u32 stack [&key], %1
          %2 = call helper 1 (map m, &key)
          %3 = load u32 stack [&key]
          return %3
        """

    made = rewrite(text, ssa, simplify, stack)

    assert "return %1" in made


def test_a_helper_may_write_what_it_is_given(rewrite: Rewrite) -> None:
    text = """
        slot out: 4 align 4
        block a:
          store u32 stack [&out], 0
          %1 = call helper 113 (&out, 4, 64)
          %2 = load u32 stack [&out]
          return %2
        """

    made = rewrite(text, ssa, simplify, stack)

    assert "load u32 stack [&out]" in made


def test_a_store_of_what_is_there_already_goes(rewrite: Rewrite) -> None:
    text = """
        slot key: 4 align 4
        block a:
          %1 = load u32 ctx [ctx]
          store u32 stack [&key], %1
          %2: ptr = call helper 1 (map m, &key)
          branch eq64 %2, 0 -> c, b
        block b:
          store u64 map [%2], 1
          jump c
        block c:
          store u32 stack [&key], %1
          %3 = call helper 1 (map n, &key)
          return 0
        """

    made = rewrite(text, ssa, simplify, stack)

    assert made.count("store u32 stack") == 1


def test_a_value_is_not_forwarded_from_one_of_two_ways(rewrite: Rewrite) -> None:
    text = """
        slot word: 8 align 8
        block a:
          %1 = load u32 ctx [ctx]
          store u64 stack [&word], 1
          branch eq64 %1, 0 -> c, b
        block b:
          store u64 stack [&word], 2
          jump c
        block c:
          %2 = load u64 stack [&word]
          return %2
        """

    made = rewrite(text, ssa, simplify, stack)

    assert "load u64 stack [&word]" in made


def test_an_address_that_is_kept_makes_its_slot_open(rewrite: Rewrite) -> None:
    text = """
        slot box: 8 align 8
        block a:
          %1: ptr = load u64 ctx [ctx]
          store u64 stack [&box], 1
          store u64 mem [%1], &box
          %2 = call helper 5 ()
          %3 = load u64 stack [&box]
          return %3
        """

    made = rewrite(text, ssa, simplify, stack)

    assert "load u64 stack [&box]" in made
    assert "store u64 stack [&box], 1" in made
