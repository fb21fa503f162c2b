"""LLVM as a back end: what it makes means the same, and its end is not ours."""

import random
import sys
from collections.abc import Callable

import pytest

from beewire.bpf import codegen, ir, kernel
from beewire.bpf.codegen import llvm
from beewire.bpf.codegen.llvm import child, worker
from beewire.bpf.lang import compile_program, compile_spec
from beewire.bpf.object import ObjectSpec
from beewire.bpf.object.target import Target
from beewire.errors import BeewireError, CompileError
from tests.bpf.codegen import reference
from tests.bpf.codegen.memory import CTX, PLACES, Memory
from tests.bpf.codegen.programs import CTX_BYTES, Maker
from tests.bpf.codegen.test_codegen_kernel import load
from tests.bpf.lang.conftest import run

pytest.importorskip("llvmlite")

TASK = """
@raw_tracepoint
def program(ctx: RawTracepoint) -> int:
    return current(task_struct).real_parent.tgid
"""
RECORD = """
class sched_process_fork(Tracepoint):
    child_pid: i32
    parent_pid: i32
@tracepoint
def program(ctx: sched_process_fork) -> int:
    return ctx.child_pid + ctx.parent_pid
"""


def parsed(text: str) -> ir.Function:
    return ir.parse_function(f"function f(ctx: ptr)\n{text}")


@pytest.mark.kernel
@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_the_kernel_runs_what_llvm_makes_as_the_ir_means_it(
    seed: int, level: int
) -> None:
    function = Maker(random.Random(seed), memory=level >= 3).make(12)
    ctx = random.Random(seed).randbytes(CTX_BYTES)
    memory = Memory(ctx)
    wanted = reference.run(function, memory, (CTX,))

    with load(llvm.generate(function, Target(level))) as loaded:
        retval = loaded.programs["random"].test_run(ctx_in=ctx).retval
        values = [loaded.maps["m"][i] for i in range(PLACES)]

    assert retval == wanted & 0xFFFF_FFFF
    assert [int.from_bytes(v, "little") for v in values] == list(memory.values())


@pytest.mark.kernel
def test_kernel_structs_are_read_by_core() -> None:
    decl = run(TASK)["program"]
    spec = ObjectSpec("bw-core")
    made = spec.programs["program"] = compile_spec(decl)
    own = {(r.type, r.access, r.kind) for r in made.core_relos}
    code = llvm.generate(compile_program(decl))
    made.insns, made.relocations, made.core_relos = code[0], code[1], code[3]

    with kernel.load(spec) as loaded:
        retval = loaded.programs["program"].test_run(ctx_in=bytes(96)).retval

    assert retval == _parent()
    assert {(r.type, r.access, r.kind) for r in code.core_relos} == own


def _parent() -> int:
    import os  # noqa: PLC0415 - one test

    return os.getppid()


def test_fields_of_the_context_stay_inside_of_loads() -> None:
    decl = run(RECORD)["program"]

    own, by_llvm = (
        codegen.generate(compile_program(decl)),
        llvm.generate(compile_program(decl)),
    )
    at = {relo.slot: relo.access for relo in by_llvm.core_relos}

    assert sorted(at.values()) == sorted(relo.access for relo in own.core_relos)
    assert all(by_llvm.insns[slot].off < 64 for slot in at)


def test_instructions_know_their_lines() -> None:
    decl = run(RECORD)["program"]

    lines = {span.line for _, span in llvm.generate(compile_program(decl)).lines}

    assert lines == {compile_program(decl).span.line + 1}


def test_what_llvm_cannot_do_is_refused_and_does_not_hurt_the_next() -> None:
    too_much = "slot big: 600 align 8\nblock entry:\n  %1 = call helper 16 (&big, 600)\n  return %1\n"
    for _ in range(2):
        with pytest.raises(CompileError, match="LLVM cannot compile f") as caught:
            llvm.generate(parsed(too_much))
        assert caught.value.diagnostics[0].code == "BW194"

    code = llvm.generate(parsed("block entry:\n  return 7\n"))

    assert [insn.imm for insn in code.insns] == [7, 0]


def test_loops_that_the_kernel_has_to_count_are_refused() -> None:
    source = (
        "@xdp\n"
        "def program(ctx: XdpContext) -> int:\n"
        "    n: u64 = 0\n"
        "    for i in range(ctx.length & 0xFFFF):\n"
        "        n = n * 3 + i\n"
        "    return n & 1\n"
    )

    with pytest.raises(CompileError, match="count the rounds of a loop"):
        llvm.generate(compile_program(run(source)["program"]))


def test_without_llvmlite_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    status, answer = worker.attempt("", 3)

    class Without(child.Child):
        def _ask(self, request: bytes) -> tuple[int, bytes]:
            del request
            return status, answer

    with pytest.raises(BeewireError, match=r"pip install 'beewire\[llvm\]'"):
        _closing(Without(), lambda one: one.compile("", 3))


def _closing(one: child.Child, use: Callable[[child.Child], object]) -> object:
    try:
        return use(one)
    finally:
        one.close()
        one.close()
