"""The IR prints, and reads back what it printed."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.bpf import ir
from beewire.errors import DecodingError
from tests.bpf.codegen.programs import Maker

EVERYTHING = """\
function f(ctx: ptr)
slot key: 16 align 8
slot key.2: 4 align 4
block entry:
  %1 = load i32 ctx [ctx+4]
  %2: ptr = load u64 ctx [ctx]
  %3 = binary add64 %2, 4
  store u32 stack [&key+4], 7
  store u8 mem [&key.2], %1
  copy 16 stack [&key], packet [%2+8] align 4
  zero 16 stack [&key] align 8
  %4 = extend u16 %1
  %5 = byteswap 32 %4
  %6 = field %2, task_struct 0:1 kind 0 is 8
  %7 = core task_struct 0 kind 8 is 64
  %8: ptr = call helper 1 (map table, &key)
  %9 = call kfunc bpf_rcu_read_lock ()
  atomic add64 [%8], 1
  %10 = atomic fetch cmpxchg32 [%8+4], %1, %4
  store u64 map [.data+16], %10
  set n, 1
  branch set32 %1, 4 -> more, last
block more:
  %11 = get n
  jump last
block last:
  return 0
"""


def test_every_operation_reads_back_as_it_was_printed() -> None:
    function = ir.parse_function(EVERYTHING)

    assert ir.format_function(function) == EVERYTHING


@given(st.randoms(use_true_random=False))
def test_any_program_reads_back_as_it_was_printed(source: random.Random) -> None:
    text = ir.format_function(Maker(source).make(6))

    assert ir.format_function(ir.parse_function(text)) == text


def test_phis_name_their_args_in_the_order_of_the_predecessors() -> None:
    text = """\
function f(ctx: ptr)
block entry:
  branch eq64 ctx, 0 -> a, b
block a:
  jump join
block b:
  jump join
block join:
  %1 = phi n (1, 2)
  return %1
"""

    function = ir.parse_function(text)

    assert [p.name for p in function.blocks[3].preds] == ["a", "b"]


def test_one_operation_prints_alone() -> None:
    load = ir.Load(ir.Slot("key", 8), 4, 4, space=ir.Space.STACK)

    assert ir.format_op(load) == "%1 = load u32 stack [&key+4]"


@pytest.mark.parametrize(
    "line",
    [
        "%1 = guess 3",
        "add 1",
        "%1 = load u32 moon [ctx]",
        "atomic add64 [ctx]",
        "%1 = call helper 1 (%7)",
    ],
)
def test_a_line_that_says_nothing_is_refused(line: str) -> None:
    text = f"function f(ctx: ptr)\nblock entry:\n  {line}\n  return 0\n"

    with pytest.raises(DecodingError, match="no line of IR"):
        ir.parse_function(text)


@pytest.mark.parametrize("text", ["", "block entry:", "function f(ctx: cat)"])
def test_text_without_a_function_is_refused(text: str) -> None:
    with pytest.raises(DecodingError, match="no function"):
        ir.parse_function(text)


def test_a_phi_of_nothing_is_refused() -> None:
    text = "function f(ctx: ptr)\nblock entry:\n%1 = phi n (%9)\nreturn %1"

    with pytest.raises(DecodingError, match=r"no args of a phi: \(%9\)"):
        ir.parse_function(text)
