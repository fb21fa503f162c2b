"""Registers, spills and the order of parts, as they show in the instructions."""

from textwrap import dedent

import pytest

from beewire.bpf import codegen, ir, isa
from tests.bpf.codegen import reference
from tests.bpf.codegen.memory import CTX, Memory
from tests.bpf.codegen.processor import Processor

STORE_64 = 0x7B
LOAD_64 = 0x79
MOVE = 0xBF
GOTO = 0x05


def parse(text: str) -> ir.Function:
    return ir.parse_function(f"function f(ctx: ptr)\n{dedent(text)}")


def generate(text: str) -> codegen.Code:
    return codegen.generate(parse(text))


def listing(code: codegen.Code) -> list[str]:
    return [isa.format_insn(insn) for insn in code.insns]


def across_calls(count: int, field: str) -> str:
    """`count` values of the context that live across a call, and are then summed."""
    lines = ["block a:"]
    lines += [f"  %{i} = {field.format(i * 4)}" for i in range(1, count + 1)]
    lines += ["  %90 = call helper 5 ()", "  %100 = binary add64 %90, 0"]
    lines += [
        f"  %{100 + i} = binary xor64 %{99 + i}, %{i}" for i in range(1, count + 1)
    ]
    lines += [f"  return %{100 + count}"]
    return "\n".join(lines)


def spills(code: codegen.Code) -> int:
    return sum(i.opcode == STORE_64 and i.dst == 10 for i in code.insns)


def test_four_values_live_across_a_call_in_registers() -> None:
    code = generate(across_calls(4, "load u32 ctx [ctx+{}]"))

    assert spills(code) == 0
    assert code.stack_bytes == 0


def test_context_fields_are_read_again_rather_than_spilled() -> None:
    last = "%200 = load u32 ctx [ctx+60]\n  %201 = binary xor64 %107, %200\n"
    text = across_calls(7, "load u32 ctx [ctx+{}]").replace(
        "return %107", f"{last}  return %201"
    )

    code = generate(text)

    assert spills(code) == 0
    assert code.stack_bytes == 0


def test_a_field_that_is_written_meanwhile_is_kept() -> None:
    text = across_calls(7, "load u32 ctx [ctx+{}]").replace(
        "  %90", "  store u32 ctx [ctx+4], 0\n  %90"
    )
    ctx = bytes(range(64))

    got = Processor(generate(text), Memory(ctx), (CTX,)).run()

    assert got == reference.run(parse(text), Memory(ctx), (CTX,))


def test_what_cannot_be_read_again_is_spilled_whole() -> None:
    code = generate(across_calls(7, "call helper 5 ()").replace("{}", ""))

    assert spills(code) == 3
    assert sum(i.opcode == LOAD_64 and i.src == 10 for i in code.insns) == 3
    assert code.stack_bytes == 24


def test_constants_across_a_call_are_made_again() -> None:
    text = """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = binary xor64 %1, 1311768467463790320
          %3 = call helper 5 ()
          %4 = binary xor64 %3, 1311768467463790320
          %5 = binary add64 %2, %4
          return %5
        """

    code = generate(text)

    assert spills(code) == 0


def test_a_loop_keeps_its_variables_in_place() -> None:
    text = """
        block a:
          set a, 0
          set b, 1
          set i, 0
          jump body
        block body:
          %1 = get a
          %2 = get b
          %3 = binary add64 %1, %2
          set a, %2
          set b, %3
          %4 = get i
          %5 = binary add64 %4, 1
          set i, %5
          branch ult64 %5, 10 -> body, done
        block done:
          %6 = get a
          return %6
        """

    code = generate(text)

    # Fibonacci: a move, or an addition the other way round; no shuffling.
    assert sum(insn.opcode == MOVE for insn in code.insns) <= 3
    assert Processor(code, Memory(), (CTX,)).run() == 55


def test_a_swap_in_a_loop_is_right() -> None:
    text = """
        block a:
          set a, 1
          set b, 2
          set i, 0
          jump body
        block body:
          %1 = get a
          %2 = get b
          set a, %2
          set b, %1
          %3 = get i
          %4 = binary add64 %3, 1
          set i, %4
          branch ult64 %4, 5 -> body, done
        block done:
          %5 = get a
          return %5
        """

    assert Processor(generate(text), Memory(), (CTX,)).run() == 2


def test_a_value_after_the_loop_is_the_last_but_one() -> None:
    text = """
        block a:
          set i, 0
          jump body
        block body:
          %1 = get i
          %2 = binary add64 %1, 1
          set i, %2
          branch ult64 %2, 5 -> body, done
        block done:
          return %1
        """

    assert Processor(generate(text), Memory(), (CTX,)).run() == 4


def test_equal_tails_are_shared() -> None:
    def count(number: int) -> str:
        return f"""
        block count{number}:
          store u32 stack [&key], {number}
          %{number}: ptr = call helper 1 (map counters, &key)
          branch eq64 %{number}, 0 -> done{number}, add{number}
        block add{number}:
          %{number + 10} = load u64 map [%{number}]
          %{number + 20} = binary add64 %{number + 10}, 1
          store u64 map [%{number}], %{number + 20}
          jump done{number}
        block done{number}:
          return 0
        """

    text = (
        dedent("""
        slot key: 4 align 4
        block a:
          %1 = load u32 ctx [ctx]
          branch eq64 %1, 0 -> count2, count3
        """)
        + dedent(count(2))
        + dedent(count(3))
    )

    code = generate(text)

    assert sum(insn.opcode == 0x85 for insn in code.insns) == 1


def test_the_way_that_falls_through_needs_no_jump() -> None:
    text = """
        block a:
          %1 = load u32 ctx [ctx]
          branch eq64 %1, 0 -> b, c
        block b:
          %2 = call helper 5 ()
          jump c
        block c:
          return 0
        """

    code = generate(text)

    assert not [insn for insn in code.insns if insn.opcode == GOTO]


def test_no_instruction_is_unreachable() -> None:
    text = """
        block a:
          %1 = load u32 ctx [ctx]
          branch eq64 1, 1 -> b, c
        block b:
          return 7
        block c:
          return %1
        """

    assert listing(generate(text)) == ["r0 = 7", "exit"]


@pytest.mark.parametrize("inputs", [(1, 2, 3, 4, 5), (5, 4, 3, 2, 1)])
def test_five_arguments_rotate(inputs: tuple[int, ...]) -> None:
    text = (
        "function f(a: int, b: int, c: int, d: int, e: int)\n"
        "block a:\n"
        "  %1 = call helper 99 (e, a, b, c, d)\n"
        "  return %1"
    )
    code = codegen.generate(ir.parse_function(text))
    registers = dict(enumerate(inputs, 1))
    for insn in code.insns:
        if insn.opcode == 0x85:
            break
        registers[insn.dst] = registers[insn.src]

    assert [registers[i] for i in range(1, 6)] == [inputs[4], *inputs[:4]]


def test_a_long_program_that_reads_many_fields_fits_its_stack() -> None:
    # A field that is wanted again much later is read again, not kept all the way.
    fields = [f"  %{i} = load u32 ctx [ctx+{i * 4}]" for i in range(1, 200)]
    sums = ["  %200 = call helper 5 ()"]
    for i in range(1, 200):
        sums.append(f"  %{2 * i + 299} = load u32 ctx [ctx+{i * 4}]")
        sums.append(f"  %{2 * i + 300} = call helper 5 ()")
        sums.append(f"  store u32 stack [&word], %{2 * i + 299}")
        sums.append(f"  %{i + 1000} = call helper 99 (&word)")
    text = "\n".join(
        ["slot word: 8 align 8", "block a:", *fields, *sums, "  return %200"]
    )

    assert generate(text).stack_bytes <= 64
