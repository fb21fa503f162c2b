"""Kernel structs by CO-RE: reads, existence, sizes, bit-fields, on the real kernel."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf import collect, load
from beewire.bpf.btf import Index, Struct, Union, size_of
from beewire.bpf.kernel import kernel_index
from beewire.bpf.lang.kernel_types import CoreKind
from beewire.errors import Diagnostic
from tests.bpf.lang.test_lang_kernel import cell
from tests.bpf.lang.test_lang_refusals import check

Refuse = Callable[[str], tuple[Diagnostic, ...]]

HEAD = """
from enum import IntEnum
from beewire.bpf import *

class qstr(Kernel):
    name: int = pointer()
class dentry(Kernel):
    d_name: qstr = embedded()
class path(Kernel):
    dentry: dentry
class file(Kernel):
    f_path: path = embedded()
class upid(Kernel):
    nr: i32
class pid(Kernel):
    level: u32
    numbers: list[upid] = embedded(upid, 1)
class signal_struct(Kernel):
    pids: list[pid] = pointer(pid, 4)
class mm_struct(Kernel):
    exe_file: file
class sched_entity(Kernel):
    sum_exec_runtime: u64
class task_struct(Kernel):
    real_parent: "task_struct"
    tgid: i32
    comm: str = chars(16)
    mm: mm_struct
    signal: signal_struct
    se: sched_entity = embedded()
    in_execve: u32 = bits(1)
    no_cgroup_migration: u32 = bits(1)
    exit_signal: i32
    nosuch: u64
class task_struct___old(Kernel):
    state: i64
    tgid: i32
class task_struct___same(Kernel):
    tgid: i32
class task_struct___wrong(Kernel):
    tgid: u8
class nothing_of_the_kind(Kernel):
    field: u32
class bpf_func_id(IntEnum):
    BPF_FUNC_map_lookup_elem = 77
    BPF_FUNC_never_was = 78
class Names(Struct):
    comm: str = chars(16)
    exe: str = chars(32)
results = Array[u64](8)
names = HashMap[u32, Names](8)
"""

# The program runs in this process: BPF_PROG_TEST_RUN of a raw tracepoint.
RUN = """
@raw_tracepoint("sys_enter")
def program(ctx: RawTracepoint) -> None:
    task = current(task_struct)
"""


def answers(body: str) -> list[int]:
    """The results after one run of `body`, a block of lines, in this process."""
    names: dict[str, Any] = cell(HEAD + RUN + body)
    with load([names["program"]]) as loaded:
        loaded[names["program"]].live.test_run(ctx_in=bytes(16))
        return [loaded[names["results"]][i] for i in range(8)]


def lines(*statements: str) -> str:
    """Statements as the body of the program."""
    return "".join(f"    {each}\n" for each in statements)


@pytest.mark.kernel
def test_chains_are_followed() -> None:
    body = lines(
        "results[0] = u64(task.tgid)", "results[1] = u64(task.real_parent.tgid)"
    )

    assert answers(body)[:2] == [os.getpid(), os.getppid()]


@pytest.mark.kernel
def test_embedded_structs_and_signed_fields() -> None:
    body = lines(
        "results[0] = task.se.sum_exec_runtime", "results[1] = u64(task.exit_signal)"
    )

    runtime, signal, *_ = answers(body)

    assert runtime > 0
    assert signal == 17  # SIGCHLD


@pytest.mark.kernel
def test_an_address_that_was_kept_leads_back() -> None:
    body = lines(
        "address = kernel_address(task.se)",
        "results[0] = address",
        "results[1] = kernel_ptr(address, sched_entity).sum_exec_runtime",
        "results[2] = task.se.sum_exec_runtime",
    )

    address, kept, runtime, *_ = answers(body)

    assert address >> 63
    assert 0 < kept <= runtime


@pytest.mark.kernel
@pytest.mark.parametrize(
    "read",
    [
        "results[1] = kernel_ptr(task.se, sched_entity).sum_exec_runtime",
        "results[1] = runtime(task.se)",
        "helpers.probe_read_kernel(words, 384, task.se)\n    results[1] = words[n]",
    ],
    ids=["a cast", "a function", "a helper"],
)
def test_a_struct_inside_is_passed_by_its_own_address(read: str) -> None:
    index: Index = kernel_index()
    entity = index.lookup("sched_entity", Struct)
    assert entity is not None
    members = entity.members
    [place] = [it.offset_bits // 64 for it in members if it.name == "sum_exec_runtime"]
    head = (
        f"{HEAD}\n@subprogram\ndef runtime(it: sched_entity) -> u64:\n"
        f"    return it.sum_exec_runtime\nn = {place}\n"
    )
    body = lines("results[0] = task.se.sum_exec_runtime", read)
    if "words" in read:
        body = lines("words = array(u64, 48)") + body
    names: dict[str, Any] = cell(head + RUN + body)
    with load([names["program"]]) as loaded:
        loaded[names["program"]].live.test_run(ctx_in=bytes(16))
        before, after = (loaded[names["results"]][i] for i in range(2))

    assert before > 0
    assert 0 <= after - before < 1_000_000_000


@pytest.mark.kernel
def test_arrays_are_read_by_element_and_as_a_block() -> None:
    body = lines(
        "results[0] = task.comm[0]",
        "i = random_u32() & 0",
        "results[1] = task.comm[i + 1]",
        "n = Names()",
        "n.comm = task.comm",
        "results[2] = n.comm[0]",
    )
    comm = Path("/proc/self/comm").read_bytes()

    assert answers(body)[:3] == [comm[0], comm[1], comm[0]]


@pytest.mark.kernel
def test_arrays_of_pointers_and_of_structs_are_followed() -> None:
    # pids[1] is that of the process (PIDTYPE_TGID).
    body = lines(
        "ours = task.signal.pids[1]",
        "results[0] = u64(ours.numbers[0].nr)",
        "n = Names()",
        "n.exe = kernel_str(task.mm.exe_file.f_path.dentry.d_name.name)",
        "results[1] = n.exe[0]",
    )
    name = Path("/proc/self/exe").readlink().name

    assert answers(body)[:2] == [os.getpid(), ord(name[0])]


@pytest.mark.kernel
def test_existence_is_known_when_the_program_is_loaded() -> None:
    body = lines(
        "results[0] = exists(task_struct)",
        "results[1] = exists(nothing_of_the_kind)",
        "results[2] = exists(task.tgid)",
        "results[3] = exists(task_struct.nosuch)",
        "results[4] = exists(task.real_parent.mm.exe_file)",
        "results[5] = exists(bpf_func_id.BPF_FUNC_map_lookup_elem)",
        "results[6] = exists(bpf_func_id.BPF_FUNC_never_was)",
    )

    assert answers(body)[:7] == [1, 0, 1, 0, 1, 1, 0]


@pytest.mark.kernel
def test_a_field_that_is_ruled_out_may_be_missing() -> None:
    body = lines(
        "if exists(task.nosuch):",
        "    results[0] = task.nosuch",
        "else:",
        "    results[0] = 5",
    )

    assert answers(body)[0] == 5


@pytest.mark.kernel
def test_sizes_and_values_are_the_kernels() -> None:
    body = lines(
        "results[0] = sizeof(task_struct)",
        "results[1] = sizeof(task.comm)",
        "results[2] = sizeof(task_struct.real_parent)",
        "results[3] = sizeof(Names)",
        "results[4] = enum_value(bpf_func_id.BPF_FUNC_map_lookup_elem)",
        "results[5] = kernel_type_id(task_struct)",
    )
    index: Index = kernel_index()
    struct = index.lookup("task_struct", Struct)
    type_id = index.find("task_struct", Struct.kind)

    assert answers(body)[:6] == [size_of(struct), 16, 8, 48, 1, type_id]


@pytest.mark.kernel
def test_types_are_compared() -> None:
    body = lines(
        "results[0] = type_matches(task_struct___same)",
        "results[1] = type_matches(task_struct___old)",
        "results[2] = type_matches(task_struct___wrong)",
    )

    assert answers(body)[:3] == [1, 0, 0]


@pytest.mark.kernel
def test_flavours_are_views_of_one_struct() -> None:
    body = lines(
        "other = current(task_struct___old)",
        "results[0] = u64(other.tgid)",
        "results[1] = exists(other.state)",
    )

    assert answers(body)[:2] == [os.getpid(), 0]


@pytest.mark.kernel
def test_bit_fields_are_read_where_the_kernel_has_them() -> None:
    # in_execve lies beside others in the kernel, alone in the class here.
    body = lines("results[0] = task.in_execve", "results[1] = task.no_cgroup_migration")

    assert answers(body)[:2] == [0, 0]


@pytest.mark.kernel
def test_a_bit_field_that_is_set_is_read_as_set() -> None:
    text = """
class task_struct___child(Kernel):
    sched_reset_on_fork: u32 = bits(1)
    sched_contributes_to_load: u32 = bits(1)
@raw_tracepoint("sys_enter")
def program(ctx: RawTracepoint) -> None:
    task = current(task_struct___child)
    results[0] = task.sched_reset_on_fork
"""
    names: dict[str, Any] = cell(HEAD + text)
    found = []
    with load([names["program"]]) as loaded:
        live = loaded[names["program"]].live
        param = os.sched_param(0)
        policy = os.sched_getscheduler(0)
        for flags in (os.SCHED_RESET_ON_FORK, 0):
            os.sched_setscheduler(0, policy | flags, param)
            live.test_run(ctx_in=bytes(16))
            found.append(loaded[names["results"]][0])

    assert found == [1, 0]


def test_records_of_every_kind_are_made() -> None:
    body = lines(
        "results[0] = u64(task.tgid) + sizeof(task.comm) + exists(task.comm)",
        "results[1] = task.in_execve + kernel_type_id(task_struct)",
        "results[2] = exists(task_struct) + sizeof(task_struct)",
        "results[3] = exists(bpf_func_id.BPF_FUNC_map_lookup_elem)",
        "results[4] = enum_value(bpf_func_id.BPF_FUNC_map_lookup_elem)",
        "results[5] = type_matches(task_struct)",
    )
    spec = collect([cell(HEAD + RUN + body)["program"]])

    kinds = {relo.kind for relo in spec.programs["program"].core_relos}

    # TYPE_ID_LOCAL is for the loader's own BTF, FIELD_SIGNED is known from the class.
    missing = {CoreKind.TYPE_ID_LOCAL, CoreKind.FIELD_SIGNED}
    assert kinds == set(CoreKind) - missing


@pytest.mark.kernel
def test_a_union_is_a_class_with_union() -> None:
    text = """
class sigval(Kernel, union=True):
    sival_int: i32
    sival_ptr: int = pointer()
@raw_tracepoint("sys_enter")
def program(ctx: RawTracepoint) -> None:
    results[0] = sizeof(sigval)
    results[1] = exists(sigval.sival_int)
"""
    names: dict[str, Any] = cell(HEAD + text)
    with load([names["program"]]) as loaded:
        loaded[names["program"]].live.test_run(ctx_in=bytes(16))

        found = [loaded[names["results"]][i] for i in range(2)]

    if kernel_index().lookup("sigval", Union) is None:
        pytest.skip("this kernel's types have no union sigval")
    assert found == [8, 1]


REFUSED = {
    "what is no kernel type": (
        "if exists(«limit»):\n        return",
        "limit is no kernel struct, nor a field of one",
        "exists(task_struct), exists(task.tgid), exists(task_struct.tgid)",
    ),
    "a field that is not declared": (
        "if exists(«task_struct.tgd»):\n        return",
        "task_struct has no field 'tgd'",
        "did you mean 'tgid'?",
    ),
    "the value of what is no enum": (
        "x = enum_value(«3»)",
        "a member of an enum is needed here",
        "enum_value(Color.RED), where Color is an IntEnum with the kernel's name",
    ),
    "a text at no address": (
        'r = Record()\n    r.comm = kernel_str(«"a"»)',
        "an address is needed here, not the text 'a'",
        "give it an argument of that kind",
    ),
    "an index past the end": (
        "t = current(task_struct)\n    x = «t.comm[16]»",
        "index 16 is past the end",
        "there are 16 elements",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused(refused: Refuse, name: str) -> None:
    body, message, hint = REFUSED[name]
    source = f"@raw_tracepoint\ndef program(ctx: RawTracepoint) -> None:\n    {body}\n"

    check(refused, source, message, hint)
