"""Passes over values: before and after."""

from collections.abc import Callable

import pytest

from beewire.bpf.codegen.dead import dead
from beewire.bpf.codegen.simplify import simplify
from beewire.bpf.codegen.ssa import ssa

Rewrite = Callable[..., str]
Same = Callable[[str, str], bool]


@pytest.fixture
def value(rewrite: Rewrite) -> Callable[..., list[str]]:
    """What becomes of a value: the lines of the block that returns it.

    %1 is any u64, %2 any u32, %3 any u16.
    """

    def run(line: str, level: int = 3) -> list[str]:
        text = f"""
        block a:
          %1 = load u64 ctx [ctx]
          %2 = load u32 ctx [ctx+8]
          %3 = load u16 ctx [ctx+12]
          {line}
          return %9
        """
        made = rewrite(text, ssa, simplify, dead, level=level)
        return [line.strip() for line in made.splitlines()[1:] if "load" not in line]

    return run


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("%9 = binary add64 2, 3", ["return 5"]),
        ("%9 = binary sub64 0, 1", ["return -1"]),
        ("%9 = binary add32 4294967295, 1", ["return 0"]),
        ("%9 = binary udiv64 7, 0", ["return 0"]),
        ("%9 = binary umod64 7, 0", ["return 7"]),
        ("%9 = binary sdiv64 -7, 2", ["return -3"]),
        ("%9 = binary smod64 -7, 2", ["return -1"]),
        ("%9 = binary shl64 1, 65", ["return 2"]),
        ("%9 = binary ashr32 2147483648, 31", ["return 4294967295"]),
        ("%9 = extend i8 255", ["return -1"]),
        ("%9 = byteswap 16 258", ["return 513"]),
        ("%9 = binary add64 %1, 0", ["return %1"]),
        ("%9 = binary mul64 %1, 0", ["return 0"]),
        ("%9 = binary xor64 %1, %1", ["return 0"]),
        ("%9 = binary and64 %1, -1", ["return %1"]),
        ("%9 = extend u32 %2", ["return %1"]),
        ("%9 = binary and64 %3, 65535", ["return %1"]),
        ("%9 = binary lshr64 %3, 16", ["return 0"]),
    ],
)
def test_what_is_known_is_not_computed(
    value: Callable[..., list[str]], before: str, after: list[str]
) -> None:
    assert value(before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("%9 = binary mul64 %1, 8", "binary shl64 %1, 3"),
        ("%9 = binary udiv64 %1, 16", "binary lshr64 %1, 4"),
        ("%9 = binary umod64 %1, 16", "binary and64 %1, 15"),
        ("%9 = binary sub64 %1, 5", "binary add64 %1, -5"),
        ("%9 = binary add64 5, %1", "binary add64 %1, 5"),
        ("%9 = binary and64 %1, 4294967295", "extend u32 %1"),
        ("%9 = binary and64 %1, 4294967040", "binary and32 %1, 4294967040"),
        ("%9 = binary and64 %2, 4294967040", "binary and64 %1, -256"),
        ("%8 = binary shl64 %1, 32\n  %9 = binary ashr64 %8, 32", "extend i32 %1"),
        ("%8 = binary add64 %1, 3\n  %9 = binary add64 %8, 4", "binary add64 %1, 7"),
        ("%8 = binary shl64 %1, 3\n  %9 = binary shl64 %8, 4", "binary shl64 %1, 7"),
        ("%8 = extend u8 %1\n  %9 = extend u8 %8", "extend u8 %1"),
        ("%8 = extend i32 %1\n  %9 = extend u16 %8", "extend u16 %1"),
        ("%8 = byteswap 32 %2\n  %9 = byteswap 16 %8", "byteswap 16 %2"),
    ],
)
def test_there_is_a_cheaper_way(
    value: Callable[..., list[str]], before: str, after: str
) -> None:
    made = value(before)

    if after == "byteswap 16 %2":
        assert made[-2:] == ["%3 = byteswap 16 %2", "return %3"]
    else:
        assert made == [f"%2 = {after}", "return %2"]


@pytest.mark.parametrize(
    "bounded",
    ["binary umod64 %1, 5", "binary udiv64 %3, 3", "binary lshr64 %3, %1"],
)
def test_a_mask_stays_where_the_verifier_knows_no_bound(
    value: Callable[..., list[str]], bounded: str
) -> None:
    made = value(f"%8 = {bounded}\n%9 = binary and64 %8, 65535")

    assert "and64" in made[-2]


def test_equal_values_are_computed_once(rewrite: Rewrite, same: Same) -> None:
    made = rewrite(
        """
        block a:
          %1 = load u32 ctx [ctx+4]
          %2 = byteswap 32 %1
          %3 = load u32 ctx [ctx+4]
          %4 = byteswap 32 %3
          %5 = binary mul64 %2, %4
          return %5
        """,
        ssa,
        simplify,
    )

    assert same(
        made,
        """
        block a:
          %1 = load u32 ctx [ctx+4]
          %2 = byteswap 32 %1
          %3 = binary mul64 %2, %2
          return %3
        """,
    )


def test_a_written_context_field_is_read_again(rewrite: Rewrite, same: Same) -> None:
    text = """
        block a:
          %1 = load u32 ctx [ctx+4]
          store u32 ctx [ctx+4], 7
          %2 = load u32 ctx [ctx+4]
          %3 = binary add64 %1, %2
          return %3
        """

    assert same(rewrite(text, ssa, simplify), text)


def test_map_memory_is_read_each_time(rewrite: Rewrite, same: Same) -> None:
    text = """
        block a:
          %1: ptr = load u64 ctx [ctx]
          %2 = load u32 map [%1]
          %3 = load u32 map [%1]
          %4 = binary add64 %2, %3
          return %4
        """

    assert same(rewrite(text, ssa, simplify), text)


def test_a_sum_is_not_taken_from_before_the_test_of_its_operand(
    rewrite: Rewrite, same: Same
) -> None:
    # The verifier knows the bounds of %1 below the branch, but not those of %2.
    text = """
        block a:
          %1 = load u32 ctx [ctx+4]
          %2 = binary add64 %1, 4
          store u32 ctx [ctx], %2
          branch ult64 %1, 16 -> b, c
        block b:
          %3 = binary add64 %1, 4
          return %3
        block c:
          return 0
        """

    assert same(rewrite(text, ssa, simplify), text)


@pytest.mark.parametrize(
    ("tested", "made_of_it"),
    [
        ("binary shl64 %1, 1", "binary shl64 %2, 2"),
        ("binary lshr64 %1, 4", "binary lshr64 %2, 1"),
        ("binary add64 %1, 4", "binary add64 %2, 1"),
        ("extend u16 %1", "binary and64 %2, 15"),
        ("extend u16 %1", "extend u8 %2"),
    ],
)
def test_what_is_made_of_a_tested_value_stays_so(
    rewrite: Rewrite, tested: str, made_of_it: str
) -> None:
    made = rewrite(
        f"""
        block a:
          %1 = load u64 ctx [ctx]
          %2 = {tested}
          branch ult64 %2, 8 -> b, c
        block b:
          %3 = {made_of_it}
          return %3
        block c:
          return 0
        """,
        ssa,
        simplify,
        dead,
    )

    assert f"%3 = {made_of_it}" in made


def test_a_reference_is_tested_once(rewrite: Rewrite, same: Same) -> None:
    made = rewrite(
        """
        slot key: 4 align 4
        block a:
          store u32 stack [&key], 1
          %1: ptr = call helper 1 (map m, &key)
          branch ne64 %1, 0 -> b, e
        block b:
          branch eq64 %1, 0 -> e, c
        block c:
          %2 = load u64 map [%1]
          return %2
        block e:
          return 0
        """,
        ssa,
        simplify,
    )

    assert same(
        made,
        """
        slot key: 4 align 4
        block a:
          store u32 stack [&key], 1
          %1: ptr = call helper 1 (map m, &key)
          branch ne64 %1, 0 -> b, e
        block b:
          jump c
        block c:
          %2 = load u64 map [%1]
          return %2
        block e:
          return 0
        """,
    )


def test_a_value_found_equal_is_the_constant(rewrite: Rewrite) -> None:
    made = rewrite(
        """
        block a:
          %1 = load u32 ctx [ctx+4]
          branch eq64 %1, 2 -> b, c
        block b:
          %2 = binary shl64 %1, 4
          return %2
        block c:
          return 0
        """,
        ssa,
        simplify,
    )

    assert "return 32" in made


def test_offsets_are_gathered_in_the_access(rewrite: Rewrite, same: Same) -> None:
    made = rewrite(
        """
        block a:
          %1: ptr = load u64 ctx [ctx]
          %2 = binary add64 %1, 14
          %3 = binary add64 %2, 6
          %4 = load u8 packet [%3+2]
          return %4
        """,
        ssa,
        simplify,
        dead,
    )

    assert same(
        made,
        """
        block a:
          %1: ptr = load u64 ctx [ctx]
          %2 = load u8 packet [%1+22]
          return %2
        """,
    )


def test_a_store_takes_the_low_bytes_itself(rewrite: Rewrite) -> None:
    made = rewrite(
        """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = extend u16 %1
          store u16 ctx [ctx+8], %2
          return 0
        """,
        ssa,
        simplify,
        dead,
    )

    assert "store u16 ctx [ctx+8], %1" in made


def test_unused_values_go_but_calls_stay(rewrite: Rewrite, same: Same) -> None:
    made = rewrite(
        """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = call helper 5 ()
          %3 = binary add64 %1, %2
          return 0
        """,
        ssa,
        dead,
    )

    assert same(made, "block a:\n%1 = call helper 5 ()\nreturn 0")


@pytest.mark.parametrize("step", ["add64 %1, 1", "or64 %1, 0"])
def test_a_loop_that_is_never_entered_goes(
    rewrite: Rewrite, same: Same, step: str
) -> None:
    made = rewrite(
        f"""
        block a:
          set i, 0
          branch eq64 1, 1 -> out, again
        block again:
          %1 = get i
          %2 = binary {step}
          set i, %2
          branch ult64 %2, 9 -> again, out
        block out:
          return 0
        """,
        ssa,
        simplify,
    )

    assert same(made, "block a:\n  jump out\nblock out:\n  return 0")


PACKET = """
    block a:
      %1: ptr = load u32 ctx [ctx]
      %2 = load u8 packet [%1+13]
      branch set64 %2, 2 -> b, c
    block b:
{between}
      %3 = load u8 packet [%1+13]
      return %3
    block c:
      return 0
    """


@pytest.mark.parametrize(
    ("between", "loads"),
    [
        ("", 1),
        ("store u16 packet [%1+14], 7", 1),
        ("store u16 packet [%1+12], 7", 2),
        ("store u8 map [.bss+0], 7", 1),
        ("%9 = call helper 5 ()", 2),
        ("%8: ptr = load u32 ctx [ctx+4]\nstore u8 packet [%8], 7", 2),
    ],
)
def test_a_packet_is_read_once_until_it_may_have_changed(
    rewrite: Rewrite, between: str, loads: int
) -> None:
    made = rewrite(PACKET.format(between=between), ssa, simplify)

    assert made.count("load u8 packet") == loads


def test_what_was_written_to_a_packet_is_not_read_again(rewrite: Rewrite) -> None:
    made = rewrite(
        """
        block a:
          %1: ptr = load u32 ctx [ctx]
          %2 = load u16 packet [%1]
          store u16 packet [%1+2], %2
          %3 = load u16 packet [%1+2]
          store u8 packet [%1+4], %2
          %4 = load u8 packet [%1+4]
          %5 = binary add64 %3, %4
          return %5
        """,
        ssa,
        simplify,
    )

    assert "load u16 packet [%1+2]" not in made
    assert "load u8 packet [%1+4]" in made
