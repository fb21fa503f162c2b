"""What `generate` gives: instructions by instruction set, records, limits, counts."""

from textwrap import dedent

import pytest

from beewire.bpf import codegen, ir, isa
from beewire.bpf.btf import Int, Member, Struct
from beewire.bpf.object import Target, target
from beewire.errors import CompileError

SPANS = [ir.Span("prog.py", line, 5, line, 20) for line in range(1, 9)]


def generate(text: str, level: int | Target = 3) -> codegen.Code:
    function = ir.parse_function(f"function f(ctx: ptr)\n{dedent(text)}")
    ir.check(function)
    chosen = Target(level) if isinstance(level, int) else level
    return codegen.generate(function, chosen)


def listing(text: str, level: int | Target = 3) -> list[str]:
    return [isa.format_insn(insn) for insn in generate(text, level).insns]


COUNTER = """
    slot key: 4 align 4
    block a:
      %1 = load u32 ctx [ctx+4]
      store u32 stack [&key], %1
      %2: ptr = call helper 1 (map table, &key)
      branch eq64 %2, 0 -> done, found
    block found:
      atomic add64 [%2], 1
      jump done
    block done:
      return 0
    """


def test_a_counter_is_as_short_as_by_hand() -> None:
    assert listing(COUNTER) == [
        "r1 = *(u32 *)(r1 +4)",
        "*(u32 *)(r10 -4) = r1",
        "r1 = map[fd:0]",
        "r2 = r10",
        "r2 += -4",
        "call bpf_map_lookup_elem#1",
        "if r0 == 0x0 goto pc+2",
        "r1 = 1",
        "lock *(u64 *)(r0 +0) += r1",
        "r0 = 0",
        "exit",
    ]


def test_relocations_count_slots() -> None:
    text = """
        slot key: 4 align 4
        block a:
          store u32 stack [&key], 1
          %1: ptr = call helper 1 (map first, &key)
          %2: ptr = call helper 1 (map second, &key)
          %3 = load u64 map [.data+16]
          %4 = call kfunc bpf_rcu_read_lock ()
          return %3
        """

    code = generate(text)

    assert [(r.kind, r.symbol, r.offset) for r in code.relocations] == [
        ("map", "first", 0),
        ("map", "second", 0),
        ("global", ".data", 0),
        ("kfunc", "bpf_rcu_read_lock", 0),
    ]
    wide = []
    slot = 0
    for insn in code.insns:
        if insn.slots == 2:
            wide.append(slot)
        slot += insn.slots
    assert [r.slot for r in code.relocations[:3]] == wide


def test_line_info_says_where_each_line_begins() -> None:
    ctx = ir.Param(0, "ctx", ir.Kind.PTR)
    function = ir.Function("f", (ctx,), SPANS[0])
    block = ir.Block("entry")
    load = ir.Load(ctx, 0, 4, space=ir.Space.CTX, span=SPANS[1])
    more = ir.Load(ctx, 4, 4, space=ir.Space.CTX, span=SPANS[1])
    sum_ = ir.Binary(ir.BinOp.ADD, load, more, span=SPANS[2])
    block.ops = [load, more, sum_, ir.Return(sum_, span=SPANS[3])]
    function.blocks = [block]

    code = codegen.generate(function)

    assert [(slot, span.line) for slot, span in code.lines] == [(0, 2), (2, 3), (3, 4)]


def core_function(*, whole: bool) -> ir.Function:
    task = Struct("task_struct", 8, (Member("tgid", Int("int", 4, signed=True), 32),))
    field = ir.CoreField(task, "0:0", 0, 4)
    ctx = ir.Param(0, "ctx", ir.Kind.PTR)
    function = ir.Function("f", (ctx,), SPANS[0])
    block = ir.Block("entry")
    address = ir.FieldAddress(ctx, field)
    value = ir.Load(address, 0, 4, space=ir.Space.KERNEL)
    size = ir.CoreValue(ir.CoreField(task, "0", 8, 8))
    sum_ = ir.Binary(ir.BinOp.ADD, value, size)
    block.ops = [address, value, size, sum_]
    if whole:
        block.ops.append(ir.Call(ir.CallKind.HELPER, 5, address))
    block.ops.append(ir.Return(sum_))
    function.blocks = [block]
    return function


def test_a_field_that_is_only_read_is_relocated_in_the_load() -> None:
    code = codegen.generate(core_function(whole=False))

    assert [isa.format_insn(insn) for insn in code.insns[:2]] == [
        "r0 = *(u32 *)(r1 +4)",
        "r1 = 8",
    ]
    assert [(r.slot, r.access, r.kind) for r in code.core_relos] == [
        (0, "0:0", 0),
        (1, "0", 8),
    ]


def test_a_field_whose_address_is_passed_is_relocated_in_the_sum() -> None:
    code = codegen.generate(core_function(whole=True))

    assert [code.insns[r.slot].opcode for r in code.core_relos] == [0x07, 0xB7]
    assert code.insns[code.core_relos[0].slot].imm == 4


def test_big_stacks_are_refused_at_the_biggest_slot() -> None:
    ctx = ir.Param(0, "ctx", ir.Kind.PTR)
    function = ir.Function("f", (ctx,), SPANS[0])
    block = ir.Block("entry")
    small, big = ir.Slot("small", 16), ir.Slot("big", 504)
    block.ops = [
        ir.Call(ir.CallKind.HELPER, 5, small, big, span=SPANS[4]),
        ir.Return(ir.Const(0)),
    ]
    function.blocks = [block]

    with pytest.raises(CompileError, match=r"520 bytes of stack, 504 .* 'big'") as info:
        codegen.generate(function)

    assert info.value.lineno == 5
    assert "in a map" in info.value.__notes__[0]


def test_slots_that_are_never_in_use_together_share_their_place() -> None:
    text = """
        slot one: 300 align 8
        slot two: 300 align 8
        block a:
          %1 = call helper 113 (&one, 300, 0)
          %2 = call helper 1 (map m, &one)
          %3 = call helper 113 (&two, 300, 0)
          %4 = call helper 1 (map m, &two)
          return 0
        """

    with pytest.raises(CompileError, match="608 bytes"):
        generate(text)


def test_keys_written_one_after_the_other_share_their_place() -> None:
    text = """
        slot one: 8 align 8
        slot two: 8 align 8
        block a:
          store u64 stack [&one], 1
          %1 = call helper 1 (map m, &one)
          store u64 stack [&two], 2
          %2 = call helper 1 (map m, &two)
          return 0
        """

    assert generate(text).stack_bytes == 8


HALVES = """
    block a:
      %1 = load u32 ctx [ctx]
      %2 = load u32 ctx [ctx+4]
      %3 = binary add32 %1, %2
      branch ult32 %3, 100 -> b, c
    block b:
      return %3
    block c:
      return 0
    """


def opcodes(text: str, level: int) -> set[int]:
    return {insn.opcode for insn in generate(text, level).insns}


@pytest.mark.parametrize("level", [1, 2])
def test_before_v3_there_is_no_32_bit_arithmetic(level: int) -> None:
    assert not {code for code in opcodes(HALVES, level) if code & 7 in {4, 6}}


def test_v3_adds_and_compares_halves() -> None:
    assert {0x0C} <= opcodes(HALVES, 3)


def test_v1_has_no_jump_if_less() -> None:
    jumps = {code & 0xF0 for code in opcodes(HALVES, 1) if code & 7 == 5}

    assert not jumps & {0xA0, 0xB0, 0xC0, 0xD0}


def test_v4_extends_signs_in_the_load() -> None:
    text = """
        block a:
          %1: ptr = load u64 ctx [ctx]
          %2 = load i16 map [%1]
          return %2
        """

    assert listing(text, 4)[1] == "r0 = *(s16 *)(r1 +0)"
    assert listing(text, 3)[1:4] == [
        "r0 = *(u16 *)(r1 +0)",
        "r0 <<= 48",
        "r0 s>>= 48",
    ]


def test_v4_divides_with_sign() -> None:
    text = """
        block a:
          %1 = load u64 ctx [ctx]
          %2 = load u64 ctx [ctx+8]
          %3 = binary sdiv64 %1, %2
          return %3
        """

    assert len(generate(text, 4).insns) == 4


def test_the_context_is_stored_to_from_registers() -> None:
    text = "block a:\n  store u32 ctx [ctx+4], 7\n  return 0"

    assert listing(text, 3)[1].startswith("*(u32 *)(r1 +4) = r")
    stores = Target(4, [target.CONTEXT_STORES])
    assert listing(text, stores)[0] == "*(u32 *)(r1 +4) = 7"


def test_an_index_into_the_stack_leaves_the_place_to_the_access() -> None:
    text = """
        slot table: 16 align 8
        block a:
          zero 16 stack [&table] align 8
          %1 = load u32 ctx [ctx]
          %2 = binary and64 %1, 15
          %3 = binary add64 &table, %2
          %4 = load u8 stack [%3]
          return %4
        """

    assert listing(text)[2:] == [
        "r2 = *(u32 *)(r1 +0)",
        "r2 &= 15",
        "r1 = r10",
        "r1 += r2",
        "r0 = *(u8 *)(r1 -16)",
        "exit",
    ]


def long_function(level: int) -> codegen.Code:
    calls = "\n".join(f"  %{i} = call helper 5 ()" for i in range(2, 33_000))
    text = (
        "block a:\n  %1 = load u32 ctx [ctx]\n  branch eq64 %1, 0 -> c, b\n"
        f"block b:\n{calls}\n  jump c\nblock c:\n  return 0"
    )
    return generate(text, level)


def test_v4_jumps_any_distance() -> None:
    code = long_function(4)

    assert any(insn.opcode == 0x06 for insn in code.insns)


def test_a_jump_that_does_not_reach_is_refused() -> None:
    with pytest.raises(CompileError, match="too long for one function"):
        long_function(3)


def test_arguments_change_places_at_once() -> None:
    text = """
        block a:
          %1 = call subprogram g (ctx, 1)
          return %1
        """
    function = ir.parse_function(
        f"function f(a: int, b: int)\n{dedent(text)}".replace("(ctx, 1)", "(b, a)")
    )

    code = codegen.generate(function)

    moves = [(insn.dst, insn.src) for insn in code.insns[:3]]
    assert moves in ([(0, 1), (1, 2), (2, 0)], [(0, 2), (2, 1), (1, 0)])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("block a:\n  return 1", 2),
        ("block a:\n  %1 = load u32 ctx [ctx]\n  return %1", 2),
        (COUNTER, 11),
        (
            """
            block a:
              set i, 0
              set sum, 0
              jump head
            block head:
              %1 = get i
              branch ult64 %1, 100 -> body, done
            block body:
              %2 = get sum
              %3 = get i
              %4 = binary add64 %2, %3
              set sum, %4
              %5 = get i
              %6 = binary add64 %5, 1
              set i, %6
              jump head
            block done:
              %7 = get sum
              return %7
            """,
            6,
        ),
        (
            """
            block a:
              %1 = load u32 ctx [ctx]
              branch ult64 %1, 7 -> b, c
            block b:
              set less, 1
              jump d
            block c:
              set less, 0
              jump d
            block d:
              %2 = get less
              return %2
            """,
            5,
        ),
    ],
)
def test_programs_keep_their_size(text: str, count: int) -> None:
    assert len(generate(text).insns) == count


@pytest.mark.parametrize("chosen", [Target(2, []), Target(3, [])])
def test_atomics_before_linux_5_12_can_only_add(chosen: Target) -> None:
    text = """
        block a:
          %1: ptr = load u64 ctx [ctx]
          %2 = atomic fetch xchg64 [%1], 1
          return %2
        """

    with pytest.raises(CompileError, match="no atomic operation but adding"):
        generate(text, chosen)


def test_what_is_done_with_equals_follows_their_test() -> None:
    code = generate(
        """
        block a:
          %1 = load u32 ctx [ctx]
          branch eq64 %1, 7 -> same, other
        block same:
          store u32 ctx [ctx+4], 1
          return 1
        block other:
          return 0
        """
    )

    test = next(insn for insn in code.insns if insn.imm == 7)
    assert test.opcode in {0x55, 0x56}  # jumps unless they are equal
