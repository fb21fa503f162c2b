"""What programs become: the operations that matter, in IR."""

from collections.abc import Callable
from types import SimpleNamespace

from beewire.bpf import ir
from beewire.bpf.lang import compile_program

Compiled = Callable[[str], str]
Cell = Callable[[str], SimpleNamespace]

XDP = "@xdp\ndef program(ctx: XdpContext) -> None:\n"


def body(statements: str, head: str = XDP) -> str:
    return head + "".join(f"    {line}\n" for line in statements.splitlines())


def test_falling_off_the_end_returns_what_is_neutral_for_the_hook(
    compiled: Compiled,
) -> None:
    assert compiled(XDP + "    pass\n").endswith("return 2\n")


def test_constants_fold_into_one_number(compiled: Compiled) -> None:
    text = compiled(body("slots[0] = (Color.BLUE << 4 | SIZE // 7) + len(TABLE)"))

    assert "store u64 stack [&value], 45" in text
    assert "binary" not in text


def test_a_constant_condition_leaves_no_branch(compiled: Compiled) -> None:
    text = compiled(body("if SIZE > 1000:\n    slots[0] = 1"))

    assert "branch" not in text
    assert "call" not in text


def test_a_struct_whose_fields_are_all_given_is_not_cleared(compiled: Compiled) -> None:
    text = compiled(body("x = keyed.lookup(Key(cookie=1, port=2, addr=(3, 4, 5, 6)))"))

    # Four bytes of padding follow the seven words.
    assert text.count("zero") == 1
    assert "zero 4 stack [&key+28] align 4" in text


def test_fields_left_out_are_cleared_together_with_padding(compiled: Compiled) -> None:
    text = compiled(body("x = keyed.lookup(Key(cookie=1))"))

    assert "zero 24 stack [&key+8] align 8" in text


def test_a_struct_in_memory_is_passed_where_it_lies(compiled: Compiled) -> None:
    text = compiled(
        body("r = records.lookup(1)\nif r is None:\n    return\nrecords[2] = r")
    )

    assert "copy" not in text


def test_a_struct_is_copied_into_a_field(compiled: Compiled) -> None:
    text = compiled(
        body(
            "r = records.lookup(1)\nif r is None:\n    return\n"
            "s = Inner(low=1)\nr.inner = s"
        )
    )

    assert "copy 4 map" in text


def test_adding_to_shared_memory_is_atomic(compiled: Compiled) -> None:
    text = compiled(body("e = table.lookup(1)\nif e is not None:\n    e.value += 2"))

    assert "atomic add64" in text


def test_subtracting_is_adding_the_negative(compiled: Compiled) -> None:
    text = compiled(body("e = table.lookup(1)\nif e is not None:\n    e.value -= 2"))

    assert "], -2\n" in text


def test_adding_to_a_per_cpu_value_is_plain(compiled: Compiled) -> None:
    text = compiled(body("per_cpu[1] += 2"))

    assert "atomic" not in text
    assert "binary add64" in text


def test_adding_to_an_entry_inserts_it_when_it_is_missing(compiled: Compiled) -> None:
    text = compiled(body("table[1] += 2"))

    assert text.count("call helper 1 (") == 2
    assert text.count("call helper 2 (map table, &key, &value, 1)") == 1
    assert text.count("atomic add64") == 1


def test_an_array_needs_no_insertion(compiled: Compiled) -> None:
    text = compiled(body("slots[1] += 2"))

    assert text.count("call helper") == 1


def test_a_global_is_read_and_changed_in_its_section(compiled: Compiled) -> None:
    text = compiled(body("settings.low = 1\nlimit.value += 1"))

    assert "store u16 map [.bss+0], 1" in text
    assert "atomic add32 [.data+0], 1" in text


def test_a_record_is_submitted_on_the_way_out_of_its_block(compiled: Compiled) -> None:
    text = compiled(
        body("with events.reserve() as e:\n    if e is not None:\n        e.pid = 1")
    )

    assert text.count("call helper 132") == 1
    assert text.count("branch") == 1


def test_a_record_is_discarded_by_return_and_break(compiled: Compiled) -> None:
    text = compiled(
        body(
            "for i in range(3):\n"
            "    with events.reserve() as e:\n"
            "        if e is None:\n            return\n"
            "        if cpu_id() == 1:\n            return\n"
            "        if cpu_id() == 2:\n            break\n"
            "        if cpu_id() == 3:\n            continue\n"
            "        e.pid = 1"
        )
    )

    assert text.count("call helper 133") == 3
    assert text.count("call helper 132") == 1


def test_a_looked_up_socket_is_released_on_every_way(compiled: Compiled) -> None:
    text = compiled(
        "@sk_lookup\ndef program(ctx: SkLookup) -> SkAction:\n"
        "    with sock_map.lookup(0) as sk:\n"
        "        if sk is None:\n            return SkAction.SK_DROP\n"
        "        if sk_assign(ctx, sk) != 0:\n            return SkAction.SK_DROP\n"
        "    return SkAction.SK_PASS\n"
    )

    assert text.count("call helper 86") == 2


def test_emit_fills_the_record_in_place(compiled: Compiled) -> None:
    text = compiled(body("events.emit(Record(pid=1, comm=current_comm()))"))

    assert "stack" not in text
    assert text.count("call helper 132") == 1


def test_the_task_is_asked_for_its_ids_once(compiled: Compiled) -> None:
    text = compiled(body("if current_pid() != current_tgid():\n    slots[0] = 1"))

    assert text.count("call helper 14") == 1


def test_ids_asked_for_on_one_way_only_are_asked_for_again(compiled: Compiled) -> None:
    text = compiled(
        body("if cpu_id():\n    slots[0] = current_pid()\nslots[1] = current_pid()")
    )

    assert text.count("call helper 14") == 2


def test_a_kernel_chain_reads_each_pointer_and_the_field_in_place(
    compiled: Compiled,
) -> None:
    text = compiled(
        body(
            "with events.reserve() as e:\n    if e is not None:\n"
            "        e.delta = current(task_struct).real_parent.tgid\n"
            "        e.comm = current(task_struct).comm"
        )
    )

    assert text.count("call helper 113") == 3
    assert "field %" in text
    assert "task_struct 0:0 kind 0" in text
    assert "task_struct 0:1 kind 0" in text
    assert "task_struct 0:2 kind 0" in text


def test_a_field_of_a_tracepoint_is_found_by_co_re(compiled: Compiled) -> None:
    text = compiled(
        "@tracepoint\ndef program(ctx: sched_process_fork) -> None:\n"
        "    table[ctx.child_pid] = 1\n"
    )

    assert "field ctx, trace_event_raw_sched_process_fork 0:1 kind 0" in text
    assert "load i32 ctx" in text


def test_arguments_of_a_raw_tracepoint_are_words_of_the_context(
    compiled: Compiled,
) -> None:
    text = compiled(
        "@raw_tracepoint\ndef program(ctx: RawTracepoint) -> None:\n"
        "    slots[0] = ctx.args[2]\n"
    )

    assert "load u64 ctx [ctx+16]" in text


def test_an_array_of_the_context_is_written_from_a_field(compiled: Compiled) -> None:
    text = compiled(
        "@connect4\ndef program(ctx: SockAddr) -> None:\n"
        "    r = state.get(ctx.sk)\n    if r is not None:\n"
        "        ctx.user_ip6 = r.words\n        r.words = ctx.user_ip6\n"
    )

    assert text.count("store u32 ctx") == 4
    assert text.count("store u32 map") == 4


def test_a_condition_in_a_function_branches_without_a_bool(compiled: Compiled) -> None:
    text = compiled(
        "def small(n: u32) -> bool:\n"
        "    if n == 7:\n        return False\n"
        "    return n < 10\n" + body("if small(cpu_id()):\n    slots[0] = 1")
    )

    assert "set condition" not in text
    assert text.count("branch") == 2


def test_an_index_given_as_an_argument_is_constant(compiled: Compiled) -> None:
    text = compiled(
        "def word(ctx: SockAddr, i: u32) -> u32:\n    return ctx.user_ip6[i]\n"
        "@connect4\ndef program(ctx: SockAddr) -> None:\n    slots[0] = word(ctx, 3)\n"
    )

    assert "load u32 ctx [ctx+20]" in text


def test_a_map_is_passed_to_a_function(compiled: Compiled) -> None:
    text = compiled(
        "def bump(counters: PerCpuArray[u32, u64], n: u32) -> None:\n"
        "    counters[n] += 1\n" + body("bump(per_cpu, 2)")
    )

    assert "map per_cpu" in text


def test_a_function_returns_a_struct(compiled: Compiled) -> None:
    text = compiled(
        "def make(n: u32) -> Key:\n    k = Key(port=n)\n    k.cookie = 5\n    return k\n"
        + body("key = make(2)\nkey.port = 3\nx = keyed.lookup(key)")
    )

    assert "copy" not in text
    assert "store u32 stack [&k+8], 3" in text


def test_printk_spells_the_format_for_the_kernel(cell: Cell) -> None:
    decl = cell(body('x: i32 = -1\nprintk(f"100% {x} {cpu_id():#x} {SIZE}")')).program
    function = compile_program(decl)
    stores = [op for op in function.ops() if isinstance(op, ir.Store)]
    raw = b"".join(
        op.args[1].value.to_bytes(op.size, "little")
        for op in stores
        if isinstance(op.args[1], ir.Const)
    )

    assert raw == b"100%% %lld 0x%llx 300\0"


def test_a_loop_is_tested_at_its_end(compiled: Compiled) -> None:
    text = compiled(body("n = 0\nfor i in range(4):\n    n += i\nslots[0] = n"))

    assert text.count("branch") == 1


def test_operations_know_their_place_in_the_source(cell: Cell) -> None:
    decl = cell(body("slots[0] = ktime_ns()")).program
    calls = [op for op in compile_program(decl).ops() if isinstance(op, ir.Call)]
    lines = decl.function.__code__.co_firstlineno

    span = calls[0].span
    assert span is not None
    assert (span.line - lines, span.column, span.end_column) == (2, 16, 26)


def test_no_unreachable_block_is_left(compiled: Compiled) -> None:
    text = compiled(body("return\nslots[0] = 1"))

    assert text.count("block") == 1


def test_names_of_a_with_block_are_free_again_after_it(compiled: Compiled) -> None:
    assert compiled(
        "numbers = RingBuf[Inner](4096)\n"
        + body(
            "with events.reserve() as e:\n    if e is not None:\n        e.pid = 1\n"
            "with numbers.reserve() as e:\n    if e is not None:\n        e.low = 1"
        )
    )
