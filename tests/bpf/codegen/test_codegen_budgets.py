"""Loops that the kernel does not follow: by may_goto, by an iterator, by bpf_loop."""

from textwrap import dedent

import pytest

from beewire.bpf import codegen, ir, isa
from beewire.bpf.codegen.outline import outline
from beewire.bpf.object import Target
from beewire.errors import CompileError
from tests.bpf.codegen import reference
from tests.bpf.codegen.memory import CTX, Memory
from tests.bpf.codegen.processor import Processor
from tests.bpf.codegen.programs import CTX_BYTES

# Three ways out: the condition, a `break` in the body, and the budget.
LOOP = """
    function f(ctx: ptr)
    block a:
      %1 = load u32 ctx [ctx]
      set n, %1
      set total, 0
      jump head
    block head:
      %2 = get n
      branch ne64 %2, 0 -> body, done
    block body:
      %3 = get total
      %4 = binary add64 %3, %2
      set total, %4
      branch eq64 %4, 77 -> broken, again
    block again:
      %5 = budget
      branch ne64 %5, 0 -> more, spent
    block more:
      %6 = binary sub64 %2, 1
      set n, %6
      jump head
    block broken:
      return 5
    block spent:
      return 2
    block done:
      %7 = get total
      return %7
    """


def loop() -> ir.Function:
    function = ir.parse_function(dedent(LOOP).strip())
    ir.check(function)
    return function


def listing(target: Target) -> list[str]:
    return [isa.format_insn(insn) for insn in codegen.generate(loop(), target).insns]


def test_text_keeps_budgets() -> None:
    text = ir.format_function(loop())

    assert "= budget\n" in text
    assert ir.format_function(ir.parse_function(text)) == text


@pytest.mark.parametrize("first", [0, 3, 11])
def test_a_loop_with_a_budget_does_what_the_ir_means(first: int) -> None:
    ctx = first.to_bytes(4, "little").ljust(CTX_BYTES, b"\0")

    got = Processor(
        codegen.generate(loop(), Target(3, ["may_goto"])), Memory(ctx), (CTX,)
    ).run()

    assert got == reference.run(loop(), Memory(ctx), (CTX,))


def test_may_goto_is_the_branch_itself() -> None:
    assert sum("may_goto" in line for line in listing(Target(3, ["may_goto"]))) == 1


def test_may_goto_leaves_room_on_the_stack_for_its_count() -> None:
    text = dedent(LOOP).strip().replace("block a:", "slot big: 500 align 8\nblock a:")
    text = text.replace(
        "  set n, %1\n", "  set n, %1\n  %9 = call helper 16 (&big, 500)\n"
    )

    codegen.generate(ir.parse_function(text), Target(3, ["iterators"]))
    with pytest.raises(CompileError, match=r"needs 50\d bytes of stack"):
        codegen.generate(ir.parse_function(text), Target(3, ["may_goto"]))


def test_an_iterator_is_destroyed_on_every_way_out() -> None:
    code = codegen.generate(loop(), Target(3, ["iterators"]))

    calls = [relo.symbol.removeprefix("bpf_iter_num_") for relo in code.relocations]
    assert calls.count("new") == 1
    assert calls.count("next") == 1
    # Out of the budget, of the break, of the condition.
    assert calls.count("destroy") == 3


def test_the_body_becomes_a_function_of_a_frame() -> None:
    function = loop()

    [callback] = outline(function, lambda name: name)

    ir.check(function)
    ir.check(callback)
    assert [param.name for param in callback.params] == ["index", "frame"]
    text = ir.format_function(function)
    assert "call helper 181 (8388608, function f_loop, &loop, 0)" in text
    assert "budget" not in text + ir.format_function(callback)


def test_a_target_that_has_nothing_for_loops_refuses_them() -> None:
    with pytest.raises(CompileError, match="may run any number of times"):
        codegen.generate(loop(), Target(3, []))


def test_what_a_loop_begins_with_is_hidden_where_tests_depend_on_it() -> None:
    # `total` is compared with 77: the kernel must not know that it begins as 0.
    atomics = [line for line in listing(Target(3, ["may_goto"])) if "lock" in line]

    assert len(atomics) == 1
