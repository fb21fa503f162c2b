"""Kernel functions and variables: called, asked for, given back, compared."""

import os
from typing import Any

import pytest

from beewire.bpf import collect, load
from beewire.bpf.btf import Func, Linkage, Var
from beewire.errors import (
    BeewireError,
    CompileError,
    NotSupported,
    SpecError,
)
from tests.bpf.lang.test_lang_kernel import cell

HEAD = """
from beewire.bpf import *

class task_struct(Kernel):
    pid: i32
    tgid: i32
    real_parent: "task_struct"
class cgroup(Kernel):
    level: i32
class rq(Kernel):
    nr_running: u32
class Request(Struct):
    pid: i32
    answer: i32

@kfunc
def bpf_task_from_pid(pid: i32) -> task_struct | None: ...
@kfunc
def bpf_task_release(p: task_struct) -> None: ...
@kfunc
def bpf_task_acquire(p: task_struct) -> task_struct | None: ...
@kfunc
def bpf_rcu_read_lock() -> None: ...
@kfunc
def bpf_rcu_read_unlock() -> None: ...
@kfunc
def bpf_never_was(number: u32) -> u64: ...

@kfunc
def bpf_rdonly_cast___task(obj: u64, btf_id: u32) -> task_struct: ...
@kfunc
def bpf_rdonly_cast___wrong(obj: u64, btf_id: u64) -> task_struct: ...

runqueues = Ksym[rq]("runqueues", per_cpu=True)
never_there = Ksym[u64]("never_there")
loops = Ksym[None]("loops_per_jiffy")
"""


def answer(body: str, pid: int) -> int:
    """What the syscall program of `body` answers for a process."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    names: dict[str, Any] = cell(
        f"{HEAD}\n@syscall\ndef program(ctx: Request) -> None:\n{lines}"
    )
    request = names["Request"]
    with load([names["program"]]) as loaded:
        live = loaded[names["program"]].live
        told = live.test_run(ctx_in=request(pid=pid).to_bytes())
    found: int = request.from_bytes(told.ctx_out).answer
    return found


@pytest.mark.kernel
def test_what_a_function_returned_is_given_back_by_with() -> None:
    body = """with bpf_task_from_pid(ctx.pid) as task:
    if task is not None:
        ctx.answer = task.real_parent.tgid"""

    assert answer(body, os.getpid()) == os.getppid()


@pytest.mark.kernel
def test_held_is_the_same_for_type_checkers() -> None:
    body = """with held(bpf_task_from_pid(ctx.pid)) as task:
    if task is not None:
        ctx.answer = task.tgid"""

    assert answer(body, os.getpid()) == os.getpid()


@pytest.mark.kernel
def test_it_may_be_given_back_by_hand() -> None:
    body = """task = bpf_task_from_pid(ctx.pid)
if task is None:
    ctx.answer = -1
    return
ctx.answer = task.tgid
bpf_task_release(task)"""

    assert answer(body, os.getpid()) == os.getpid()
    assert answer(body, 1 << 22) == -1


@pytest.mark.kernel
def test_a_function_is_asked_for_before_it_is_called() -> None:
    body = """if exists(bpf_never_was):
    ctx.answer = i32(bpf_never_was(1))
elif exists(bpf_task_from_pid):
    ctx.answer = 2"""

    assert answer(body, 0) == 2


@pytest.mark.kernel
def test_an_address_is_read_as_a_typed_pointer_is() -> None:
    body = """address = kernel_address(current(task_struct).real_parent)
if exists(bpf_rdonly_cast___task):
    ctx.answer = bpf_rdonly_cast___task(address, kernel_type_id(task_struct)).tgid
else:
    ctx.answer = kernel_ptr(address, task_struct).tgid"""

    assert answer(body, 0) == os.getppid()


@pytest.mark.kernel
@pytest.mark.parametrize("address", ["0", "8", "0xDEAD << 48", "0xFFFF_FFFF_FFFF_E000"])
def test_where_nothing_is_zero_is_read(address: str) -> None:
    body = f"""ctx.answer = 7
if exists(bpf_rdonly_cast___task):
    where: u64 = ctx.pid
    there = bpf_rdonly_cast___task(where + ({address}), kernel_type_id(task_struct))
    ctx.answer = there.tgid
else:
    ctx.answer = 0"""

    assert answer(body, 0) == 0


@pytest.mark.kernel
def test_a_function_of_other_parameters_is_not_the_one_that_is_asked_for() -> None:
    body = """if exists(bpf_rdonly_cast___wrong):
    ctx.answer = 1
else:
    ctx.answer = 2"""

    with pytest.raises(SpecError, match="'bpf_rdonly_cast___wrong' is declared other"):
        answer(body, 0)


@pytest.mark.kernel
def test_a_variable_is_asked_for() -> None:
    body = """ctx.answer = 3
if exists(never_there):
    ctx.answer = i32(never_there.value)"""

    assert answer(body, 0) == 3


@pytest.mark.kernel
def test_a_missing_function_is_named_with_its_like() -> None:
    text = """
@kfunc
def bpf_task_from_pidd(pid: i32) -> task_struct | None: ...
@syscall
def program(ctx: Request) -> None:
    if bpf_task_from_pidd(1) is None:
        return
"""
    with pytest.raises(
        NotSupported, match="kernel function 'bpf_task_from_pidd'"
    ) as at:
        load([cell(HEAD + text)["program"]])

    assert "did you mean 'bpf_task_from_pid'" in "\n".join(at.value.__notes__)


WRONG = {
    "a parameter": (
        "def bpf_task_from_pid(pid: u64) -> task_struct | None: ...",
        (
            "declared otherwise than it is: write "
            "def bpf_task_from_pid(pid: i32) -> task_struct"
        ),
    ),
    "the number of them": (
        "def bpf_task_from_pid(pid: i32, flags: u32) -> task_struct | None: ...",
        "write def bpf_task_from_pid(pid: i32)",
    ),
    "the result": (
        "def bpf_task_from_pid(pid: i32) -> cgroup | None: ...",
        "-> task_struct",
    ),
}


@pytest.mark.kernel
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_declaration_is_refused_with_the_right_one(name: str) -> None:
    declared, message = WRONG[name]
    call = "bpf_task_from_pid(1, 0)" if "flags" in declared else "bpf_task_from_pid(1)"
    text = (
        f"@kfunc\n{declared}\n@syscall\ndef program(ctx: Request) -> None:\n"
        f"    with {call} as it:\n        ctx.answer = 1\n"
    )

    with pytest.raises(SpecError) as caught:
        load([cell(HEAD + text)["program"]])

    assert message in str(caught.value)


REFUSED = {
    "what is not given back": (
        "task = «bpf_task_from_pid(ctx.pid)»\nif task is None:\n    return",
        "what bpf_task_from_pid() returned is not given back where the program ends",
    ),
    "what was given back": (
        (
            "task = bpf_task_from_pid(ctx.pid)\nif task is None:\n    return\n"
            "bpf_task_release(task)\nctx.answer = «task».pid"
        ),
        "'task' is gone: bpf_task_release() gave it back",
    ),
    "what is not acquired": (
        "with held(«current(task_struct)») as task:\n    ctx.answer = task.pid",
        "current(task_struct) is nothing that has to be given back",
    ),
    "what may be None": (
        "with bpf_task_from_pid(ctx.pid) as task:\n    ctx.answer = «task».pid",
        "'task' may be None here",
    ),
    "what was never acquired": (
        "bpf_task_release(«current(task_struct)»)",
        "'current(task_struct)' is not the program's to give back",
    ),
    "an argument of another kind": (
        "x = bpf_never_was(«ctx»)",
        "u32 is needed here, not a struct (Request)",
    ),
    "another struct": (
        "x = bpf_task_acquire(«current(cgroup)»)",
        "task_struct is needed here, not a kernel struct (cgroup)",
    ),
    "too many arguments": (
        "x = bpf_never_was(1, «2»)",
        "bpf_never_was() takes 1 argument, 2 are given",
    ),
    "a variable of every CPU without saying which": (
        "ctx.answer = i32(«runqueues.nr_running»)",
        "each CPU has a runqueues of its own",
    ),
    "the value of what has an address only": (
        "ctx.answer = i32(«loops.value»)",
        "loops_per_jiffy has an address only",
    ),
    "an operation that a variable does not have": (
        "ctx.answer = i32(«never_there.here»())",
        "never_there has no here()",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused(name: str) -> None:
    body, message = REFUSED[name]
    lines = "".join(
        f"    {line}\n" for line in body.replace("«", "").replace("»", "").split("\n")
    )
    text = f"{HEAD}\n@syscall\ndef program(ctx: Request) -> None:\n{lines}"

    with pytest.raises(CompileError) as caught:
        collect([cell(text)["program"]])

    fault = caught.value.diagnostics[0]
    marked = body.partition("«")[2].partition("»")[0]
    assert fault.message.startswith(message)
    assert fault.end_column is not None
    assert fault.text[fault.column - 1 : fault.end_column - 1] == marked


def test_objects_say_what_they_take_from_the_kernel() -> None:
    text = """
@syscall
def program(ctx: Request) -> None:
    with bpf_task_from_pid(ctx.pid) as task:
        if task is not None:
            ctx.answer = task.pid
    if exists(bpf_never_was):
        ctx.answer = i32(runqueues.here().nr_running)
"""
    spec = collect([cell(HEAD + text)["program"]])

    kinds = {name: type(each) for name, each in spec.externs.items()}

    assert kinds == {
        "bpf_task_from_pid": Func,
        "bpf_task_release": Func,
        "bpf_never_was": Func,
        "runqueues": Var,
    }
    assert all(each.linkage is Linkage.EXTERN for each in spec.externs.values())
    assert spec.weak == {"bpf_never_was"}


def test_kernel_functions_work_in_programs_only() -> None:
    names = cell(HEAD)

    with pytest.raises(BeewireError, match="work"):
        names["bpf_task_from_pid"](1)
    with pytest.raises(BeewireError, match="work"):
        names["runqueues"].here()


def test_kfunc_marks_a_function() -> None:
    with pytest.raises(SpecError, match="@kfunc marks a function"):
        cell("from beewire.bpf import *\nx = kfunc(3)\n")


def test_a_release_may_be_declared() -> None:
    text = """
@kfunc
def some_put(p: task_struct) -> None: ...
@kfunc(released_by=some_put)
def some_get(pid: i32) -> task_struct | None: ...
@syscall
def program(ctx: Request) -> None:
    with some_get(1) as it:
        if it is not None:
            ctx.answer = it.pid
"""
    spec = collect([cell(HEAD + text)["program"]])

    called = [relo.symbol for relo in spec.programs["program"].relocations]

    assert called == ["some_get", "some_put"]
