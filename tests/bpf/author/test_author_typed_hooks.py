"""Hooks with the kernel's types: arguments, what is refused, and real events."""

import os
import subprocess
from typing import Any

import pytest

from beewire.bpf import collect, evaluate, load
from beewire.errors import AttachError, CompileError, NotPermitted, SpecError
from tests.bpf.lang.test_lang_kernel import cell

HEAD = """
from beewire.bpf import *

class mm_struct(Kernel):
    map_count: i32
class task_struct(Kernel):
    real_parent: "task_struct"
    tgid: i32
    pid: i32
    comm: str = chars(16)
    mm: mm_struct
class sock(Kernel):
    sk_mark: u32
class file(Kernel):
    f_flags: u32
class bpf_map(Kernel):
    id: u32
    name: str = chars(16)
class Seen(Struct):
    parent: i32
    maps: i32
    comm: str = chars(16)
seen = HashMap[i32, Seen](4096)
own = Global(u32)
"""


def program(text: str) -> Any:
    """The program called `program` in `text`."""
    return cell(HEAD + text)["program"]


def loaded(text: str) -> None:
    """Compile and load `text`."""
    load([program(text)]).close()


@pytest.mark.kernel
def test_arguments_of_a_tracepoint_are_read_directly() -> None:
    names = cell(
        HEAD
        + """
@tp_btf("sched_process_exec")
def program(task: task_struct, old_pid: i32, binary: u64) -> None:
    if task.mm is None:
        return
    seen[task.tgid] = Seen(
        parent=task.real_parent.tgid, maps=task.mm.map_count, comm=task.comm
    )
"""
    )
    with load([names["program"]]) as found:
        with found[names["program"]].attach(), subprocess.Popen(["true"]) as process:
            child = process.pid
        told = found[names["seen"]][child]

    assert (told.parent, told.comm) == (os.getpid(), "true")
    assert told.maps > 0


@pytest.mark.kernel
def test_no_probe_read_where_the_verifier_knows_the_type() -> None:
    text = """
@tp_btf("sched_switch")
def program(preempt: bool, prev: task_struct, next: task_struct) -> None:
    seen[next.pid] = Seen(parent=prev.real_parent.pid)
"""

    assert "probe_read" not in program(text).disassemble()


@pytest.mark.kernel
def test_an_iterator_writes_what_is_read() -> None:
    text = r"""
@iter("task")
def program(meta: bpf_iter_meta, task: task_struct | None) -> None:
    if task is None:
        seq_write(meta.seq, b"end\n")
        return
    seq_printf(meta.seq, f"{task.pid} {task.comm} {task.real_parent.pid} {meta.seq_num}\n")
"""
    lines = program(text).read().decode().splitlines()
    mine = [line.split() for line in lines if line.startswith(f"{os.getpid()} ")]

    assert lines[-1] == "end"
    assert [(row[0], row[-2]) for row in mine] == [
        (str(os.getpid()), str(os.getppid()))
    ]


@pytest.mark.kernel
def test_an_iterator_writes_structs() -> None:
    text = """
class Row(Struct):
    id: u32
    name: str = chars(16)
@iter("bpf_map")
def program(meta: bpf_iter_meta, map: bpf_map | None) -> None:
    if map is not None:
        row = Row(id=map.id, name=map.name)
        seq_write(meta.seq, row)
table = HashMap[u32, u64](1)
"""
    names = cell(HEAD + text)
    raw = names["program"].read()
    row = names["Row"]

    rows = [row.from_bytes(raw[i : i + 20]) for i in range(0, len(raw), 20)]

    assert all(each.id > 0 for each in rows)
    assert len(raw) % 20 == 0


WRONG = {
    "another struct": (
        (
            '@tp_btf("sched_switch")\n'
            "def program(preempt: bool, prev: sock, next: task_struct) -> None:"
        ),
        (
            "parameter 'prev' is sock, the kernel passes task_struct: write "
            "def program(preempt: bool, prev: task_struct, next: task_struct, "
            "prev_state: u32)"
        ),
    ),
    "an integer of another size": (
        '@tp_btf("sched_switch")\ndef program(preempt: u64) -> None:',
        "parameter 'preempt' is u64, the kernel passes bool",
    ),
    "too many": (
        (
            '@tp_btf("sched_switch")\n'
            "def program(a: bool, b: task_struct, c: task_struct, d: u32, e: u32) -> None:"
        ),
        "takes 5 arguments, the kernel passes 4: write def program(",
    ),
    "an iterator's object": (
        '@iter("task")\ndef program(meta: bpf_iter_meta, map: bpf_map | None) -> None:',
        (
            "parameter 'map' is bpf_map, the kernel passes task_struct: write "
            "def program(meta: bpf_iter_meta, task: task_struct)"
        ),
    ),
    "a function's": (
        '@fentry("tcp_connect")\ndef program(task: task_struct) -> None:',
        (
            "parameter 'task' is task_struct, the kernel passes sock: write "
            "def program(sk: sock)"
        ),
    ),
    "a function's result": (
        '@fexit("tcp_connect")\ndef program(sk: sock, result: i64) -> None:',
        (
            "parameter 'result' is i64, the kernel passes i32: write "
            "def program(sk: sock, result: i32)"
        ),
    ),
    "an LSM hook's": (
        '@lsm("file_open")\ndef program(task: task_struct) -> int:',
        (
            "parameter 'task' is task_struct, the kernel passes file: write "
            "def program(file: file, result: i32)"
        ),
    ),
}


@pytest.mark.kernel
@pytest.mark.parametrize("name", WRONG)
def test_arguments_that_are_not_passed_are_refused_with_the_right_ones(
    name: str,
) -> None:
    head, message = WRONG[name]
    body = "\n    return 0\n" if "-> int" in head else "\n    pass\n"

    with pytest.raises(SpecError) as caught:
        loaded(head + body)

    if "tp_btf/sched_switch" in str(caught.value) and "arg0" in str(caught.value):
        pytest.skip("this kernel does not name the arguments of tracepoints")
    assert message in str(caught.value)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            '@tp_btf("sched_swich")',
            "no 'btf_trace_sched_swich'; did you mean 'sched_switch",
        ),
        ('@fentry("tcp_conect")', "no 'tcp_conect'; did you mean 'tcp_connect'"),
        ('@iter("tasks")', "no 'bpf_iter_tasks'; did you mean 'task"),
        ('@lsm("file_opn")', "no 'bpf_lsm_file_opn'; did you mean 'file_open'"),
    ],
)
def test_a_hook_that_does_not_exist_is_refused_with_its_like(
    head: str, message: str
) -> None:
    with pytest.raises(AttachError) as caught:
        loaded(f"{head}\ndef program() -> None:\n    pass\n")

    assert message in str(caught.value)


REFUSED = {
    "a value from a hook that takes none": (
        '@fentry("tcp_connect")\ndef program(sk: sock) -> int:\n    return 1\n',
        "fentry programs return nothing",
    ),
    "an iterator's object that was not tested": (
        (
            '@iter("task")\n'
            "def program(meta: bpf_iter_meta, task: task_struct | None) -> None:\n"
            "    seen[task.pid] = Seen()\n"
        ),
        "'task' may be None here",
    ),
    "an iterator's object that is never None": (
        (
            '@iter("task")\n'
            "def program(meta: bpf_iter_meta, task: task_struct) -> None:\n    pass\n"
        ),
        "an iterator runs once more with None, at its end",
    ),
    "a parameter of no type": (
        '@tp_btf("sched_switch")\ndef program(preempt: float) -> None:\n    pass\n',
        "float is no type of programs",
    ),
    "a seventh argument of a probe": (
        (
            '@kprobe("x")\n'
            "def program(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8)"
            " -> None:\n    pass\n"
        ),
        "passes no argument number",
    ),
    "the context where it has a name": (
        "@xdp\ndef program(ctx: XdpContext) -> None:\n    helpers.xdp_get_buff_len(context())\n",
        "context() is for programs whose parameters are arguments",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused(name: str) -> None:
    text, message = REFUSED[name]

    with pytest.raises(CompileError) as caught:
        collect([program(text)])

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("@tp_btf", "@tp_btf takes a name"),
        ('@fentry("a:b")', "@fentry takes a name"),
        ('@lsm("")', "@lsm takes a name"),
    ],
)
def test_decorators_say_what_they_take(line: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        program(f"{line}\ndef program() -> None:\n    pass\n")


def test_a_parameter_needs_an_annotation() -> None:
    with pytest.raises(CompileError, match="'sk' has no annotation"):
        program('@fentry("tcp_connect")\ndef program(sk) -> None:\n    pass\n')


TRAMPOLINES = {
    "fentry": '@fentry("tcp_connect")\ndef program(sk: sock) -> None:',
    "fexit": '@fexit("tcp_connect")\ndef program(sk: sock, result: i32) -> None:',
    "lsm": '@lsm("file_open")\ndef program(file: file) -> int:',
    "lsm.s": '@lsm("file_open", sleepable=True)\ndef program(file: file) -> int:',
}


@pytest.mark.kernel
@pytest.mark.parametrize("name", TRAMPOLINES)
def test_trampolines_load_where_the_machine_lets_them(name: str) -> None:
    head = TRAMPOLINES[name]
    body = "\n    return 0\n" if "-> int" in head else "\n    seen[1] = Seen()\n"

    try:
        loaded(head + body)
    except NotPermitted:
        pytest.skip("this machine forbids programs on functions")


def test_sections_are_those_of_libbpf() -> None:
    names = cell(
        HEAD
        + """
@fentry("tcp_connect")
def a(sk: sock) -> None: ...
@fexit("do_nanosleep", sleepable=True)
def b() -> None: ...
@lsm("file_open", sleepable=True)
def c(file: file) -> int:
    return 0
@lsm_cgroup("socket_bind")
def d() -> int:
    return 1
@iter("task")
def e() -> None: ...
@uprobe("/bin/sh:main", sleepable=True)
def f() -> None: ...
"""
    )

    assert [names[name].section for name in "abcdef"] == [
        "fentry/tcp_connect",
        "fexit.s/do_nanosleep",
        "lsm.s/file_open",
        "lsm_cgroup/socket_bind",
        "iter/task",
        "uprobe.s//bin/sh:main",
    ]


def test_evaluate_takes_the_arguments_of_a_typed_hook() -> None:
    text = """
class Row(Kernel):
    flags: u32 = bits(4)
    late: u32
@kfunc
def bpf_never_was(number: u32) -> i32: ...
@lsm("file_open")
def program(file: file, task: task_struct, row: Row, old: i32) -> int:
    if exists(row.late) or row.flags != 5 or file.f_flags != 9:
        return -1
    if helpers.ktime_get_ns() != 77:
        return -2
    return bpf_never_was(2) + task.real_parent.pid + old
"""
    names = cell(HEAD + text)
    world = names["World"](
        answers={"bpf_never_was": lambda n: n * 10, "ktime_get_ns": 77}
    )
    task = {"real_parent": {"pid": 3}}

    told = evaluate(
        names["program"], {"f_flags": 9}, task, {"flags": 0x35}, -1, world=world
    )

    assert told == 22
