"""A function that contradicts itself is refused, with the place and the reason."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.bpf import ir
from beewire.errors import SpecError
from tests.bpf.codegen.programs import Maker


def refused(body: str, reason: str) -> None:
    function = ir.parse_function(f"function f(ctx: ptr)\nslot key: 8 align 8\n{body}")

    with pytest.raises(SpecError, match=reason):
        ir.check(function)


@given(st.randoms(use_true_random=False))
def test_sound_programs_pass(source: random.Random) -> None:
    ir.check(Maker(source).make(6))


def test_a_function_needs_blocks() -> None:
    with pytest.raises(SpecError, match="no blocks"):
        ir.check(ir.Function("f", (), ir.Span("f.py", 1, 1, 1, 2)))


def test_a_block_ends_with_a_jump() -> None:
    refused("block a:\n  store u32 stack [&key], 1", "does not end with a jump")


def test_nothing_stands_after_a_jump() -> None:
    refused("block a:\n  return 0\n  return 1", "before the end of its block")


def test_jumps_stay_inside() -> None:
    refused("block a:\n  jump b", "outside of the function")


def test_a_value_is_computed_on_every_way() -> None:
    body = """
    block a:
      branch eq64 ctx, 0 -> b, c
    block b:
      %1 = load u32 ctx [ctx]
      jump c
    block c:
      return %1
    """

    refused(body, "uses a value before it is there")


def test_a_local_is_set_on_every_way() -> None:
    body = """
    block a:
      branch eq64 ctx, 0 -> b, c
    block b:
      set n, 1
      jump c
    block c:
      %1 = get n
      return %1
    """

    refused(body, "uses 'n' before it is there")


def test_a_local_set_before_a_loop_is_there_in_it() -> None:
    text = """
    function f(ctx: ptr)
    block a:
      set n, 1
      jump head
    block head:
      %1 = get n
      branch ult64 %1, 4 -> body, done
    block body:
      %2 = get n
      %3 = binary add64 %2, 1
      set n, %3
      jump head
    block done:
      return %1
    """

    ir.check(ir.parse_function(text))


def test_widths_exist() -> None:
    refused("block a:\n  %1 = binary add16 1, 2\n  return %1", "bits is 16")


def test_sizes_exist() -> None:
    refused("block a:\n  %1 = load u24 ctx [ctx]\n  return %1", "size is 3")


def test_a_call_has_five_args_at_most() -> None:
    refused("block a:\n  %1 = call helper 1 (1, 2, 3, 4, 5, 6)\n  return %1", "five")


def test_an_operation_stands_at_one_place() -> None:
    function = ir.parse_function(
        "function f(ctx: ptr)\nblock a:\n  %1 = load u32 ctx [ctx]\n  return %1"
    )
    function.blocks[0].ops.insert(0, function.blocks[0].ops[0])

    with pytest.raises(SpecError, match="twice"):
        ir.check(function)


def test_an_operation_without_a_value_is_no_operand() -> None:
    function = ir.parse_function(
        "function f(ctx: ptr)\nslot key: 8 align 8\nblock a:\n"
        "  store u64 stack [&key], 1\n  return 0"
    )
    store, last = function.blocks[0].ops
    last.args = [store]

    with pytest.raises(SpecError, match="no value"):
        ir.check(function)


def test_constants_have_64_bits() -> None:
    refused(f"block a:\n  return {1 << 64}", "more than 64 bits")


def test_slots_have_an_alignment_that_exists() -> None:
    body = "slot odd: 3 align 3\nblock a:\n  store u8 stack [&odd], 1\n  return 0"

    refused(body, "odd has no size or alignment")


def test_parameters_belong_to_the_function() -> None:
    function = ir.parse_function("function f()\nblock a:\n  return 0")
    stranger = ir.Param(0, "ctx", ir.Kind.PTR)
    function.blocks[0].ops[-1].args = [stranger]

    with pytest.raises(SpecError, match="no parameter of the function"):
        ir.check(function)


def test_the_message_names_function_block_and_operation() -> None:
    refused(
        "block a:\n  %1 = binary add16 1, 2\n  return %1",
        r"f, block a: %1 = binary add16 1, 2: bits is 16",
    )
