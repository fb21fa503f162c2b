"""Branches that became fewer, on sets and on single bits: before and after."""

from collections.abc import Callable, Sequence

import pytest

from beewire.bpf import codegen, ir
from beewire.bpf.codegen.blend import blend
from beewire.bpf.codegen.sets import sets
from beewire.bpf.codegen.ssa import ssa
from tests.bpf.codegen import reference
from tests.bpf.codegen.memory import CTX, Memory
from tests.bpf.codegen.processor import Processor

Rewrite = Callable[..., str]


def chain(members: Sequence[int], use: str = "") -> str:
    """A function that returns 1 for the members, one test after the other."""
    lines = ["block a:", "%1 = load u64 ctx [ctx]", use, "jump t0"]
    for i, member in enumerate(members):
        after = f"t{i + 1}" if i + 1 < len(members) else "no"
        lines += [f"block t{i}:", f"branch eq64 %1, {member} -> yes, {after}"]
    lines += ["block yes:", "return 1", "block no:", "return 0"]
    return "\n".join(line for line in lines if line)


def test_neighbours_are_one_test_of_the_distance(rewrite: Rewrite) -> None:
    made = rewrite(chain([4, 6, 5]), ssa, sets)

    assert "sub64 %1, 4" in made
    assert "branch ule64 %2, 2 -> yes, no" in made


def test_neighbours_are_a_range_where_the_value_is_wanted(rewrite: Rewrite) -> None:
    text = chain([4, 6, 5], use="store u64 ctx [ctx+8], %1")
    made = rewrite(text, ssa, sets)

    assert "branch ult64 %1, 4 -> no" in made
    assert "branch ule64 %1, 6 -> yes, no" in made
    assert made.count("branch") == 2


def test_members_below_32_are_a_mask(rewrite: Rewrite) -> None:
    made = rewrite(chain([0, 6, 17]), ssa, sets)

    assert "branch ugt64 %1, 17 -> no" in made
    assert f"lshr64 {1 | 1 << 6 | 1 << 17}, %1" in made
    assert "branch set64" in made


def test_two_that_differ_in_a_bit_are_one_test(rewrite: Rewrite) -> None:
    made = rewrite(chain([2, 10]), ssa, sets)

    assert "or64 %1, 8" in made
    assert made.count("branch") == 1


def test_what_may_be_an_index_keeps_its_own_tests(rewrite: Rewrite) -> None:
    text = chain([2, 10], use="%2 = binary add64 %1, 1\nstore u64 ctx [ctx+8], %2")

    assert rewrite(text, ssa, sets).count("branch") == 2


def test_two_far_apart_stay(rewrite: Rewrite) -> None:
    assert rewrite(chain([6, 17]), ssa, sets).count("branch") == 2


@pytest.mark.parametrize(
    "members",
    [[0, 1], [4, 5, 6], [0, 6, 17], [2, 10], [3, 31, 30, 1], [0, 43, 44, 51, 60, 63]],
)
def test_sets_hold_what_they_held(members: list[int]) -> None:
    text = f"function f(ctx: ptr)\n{chain(members)}"
    code = codegen.generate(ir.parse_function(text))

    for value in [*range(80), (1 << 32) + members[0], 1 << 63, (1 << 64) - 1]:
        memory = Memory(value.to_bytes(8, "little").ljust(64, b"\0"))
        assert Processor(code, memory, (CTX,)).run() == (value in members)


CRC = """
    block a:
      %1 = load u32 ctx [ctx]
      set crc, %1
      set i, 0
      jump body
    block body:
      %2 = get crc
      %3 = binary and64 %2, {mask}
      branch {test}64 %3, 0 -> b, c
    block b:
      %4 = binary lshr64 %2, 1
      %5 = binary {op}64 %4, 3988292384
      set crc, %5
      jump d
    block c:
      %6 = binary lshr64 %2, 1
      set crc, %6
      jump d
    block d:
      %7 = get i
      %8 = binary add64 %7, 1
      set i, %8
      branch ult64 %8, 8 -> body, done
    block done:
      %9 = get crc
      return %9
    """


def test_a_bit_that_decides_what_is_added_becomes_a_mask(rewrite: Rewrite) -> None:
    made = rewrite(CRC.format(mask=1, test="ne", op="xor"), ssa, blend)

    assert made.count("branch") == 1
    assert "ashr64" in made


@pytest.mark.parametrize(
    ("mask", "test", "op"),
    [(3, "ne", "xor"), (1, "eq", "xor"), (1, "ne", "mul"), (1, "ult", "xor")],
)
def test_other_tests_stay_branches(
    rewrite: Rewrite, mask: int, test: str, op: str
) -> None:
    made = rewrite(CRC.format(mask=mask, test=test, op=op), ssa, blend)

    assert made.count("branch") == 2


@pytest.mark.parametrize("mask", [1, 1 << 7, 1 << 31, 1 << 63])
@pytest.mark.parametrize("op", ["xor", "add", "or", "sub"])
def test_a_mask_adds_what_the_branch_added(mask: int, op: str) -> None:
    text = f"function f(ctx: ptr)\n{CRC.format(mask=mask, test='ne', op=op)}"
    code = codegen.generate(ir.parse_function(text))

    for value in (0, 1, 0x80, 0x80000000, 0xFFFFFFFF, 0xDEADBEEF):
        ctx = value.to_bytes(8, "little").ljust(64, b"\0")
        wanted = reference.run(ir.parse_function(text), Memory(ctx), (CTX,))
        assert Processor(code, Memory(ctx), (CTX,)).run() == wanted


SEEN = """
    block a:
      %1 = load u64 ctx [ctx]
      %2 = load u64 ctx [ctx+8]
      set i, 0
      set seen, {start}
      jump body
    block body:
      %3 = get i
      %4 = binary add64 %2, %3
      %5 = binary shl64 1, %4
      %6 = binary and64 %1, %5
      branch {test}64 %6, 0 -> d, c
    block c:
      set seen, {clear}
      jump d
    block d:
      %8 = binary add64 %3, 1
      set i, %8
      branch ult64 %8, 8 -> body, done
    block done:
      %9 = get seen
      return %9
    """


def test_a_bit_that_clears_a_truth_is_taken_as_it_is(rewrite: Rewrite) -> None:
    made = rewrite(SEEN.format(start=1, test="ne", clear=0), ssa, blend)

    assert made.count("branch") == 1
    assert "lshr64" in made


@pytest.mark.parametrize(
    ("start", "test", "clear"), [(2, "ne", 0), (1, "eq", 0), (1, "ne", 1)]
)
def test_what_is_no_truth_stays_a_branch(
    rewrite: Rewrite, start: int, test: str, clear: int
) -> None:
    made = rewrite(SEEN.format(start=start, test=test, clear=clear), ssa, blend)

    assert made.count("branch") == 2


@pytest.mark.parametrize("word", [0, 0xFF, 0x7F, 0xFE, 1 << 63 | 0x7F, 0x7F << 57])
@pytest.mark.parametrize("first", [0, 57, 64])
def test_a_truth_is_kept_while_all_bits_are_set(word: int, first: int) -> None:
    text = SEEN.format(start=1, test="ne", clear=0)
    text = f"function f(ctx: ptr)\n{text}"
    code = codegen.generate(ir.parse_function(text))
    ctx = word.to_bytes(8, "little") + first.to_bytes(8, "little") + bytes(48)

    wanted = reference.run(ir.parse_function(text), Memory(ctx), (CTX,))

    assert Processor(code, Memory(ctx), (CTX,)).run() == wanted
