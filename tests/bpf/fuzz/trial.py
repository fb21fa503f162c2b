"""One program, run three ways: our own generator's code, LLVM's, and `evaluate()`."""

import itertools
import linecache
import os
import struct
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any, NamedTuple

from beewire.bpf import World, collect, load
from beewire.bpf.author.collection import Collection
from beewire.bpf.kernel import running
from beewire.bpf.lang.decl import PerCpuDecl
from beewire.bpf.lang.reference.entry import prepare
from beewire.bpf.object.kinds import MapKind
from beewire.bpf.object.target import FEATURES, PORTABLE, Target
from beewire.errors import BeewireError, CompileError, VerifierError
from tests.bpf.fuzz.program import Input, Source, inputs

RUNS = 6  # of each program, one after another in the same world
_M32 = (1 << 32) - 1
_PER_CPU = {MapKind.PERCPU_ARRAY, MapKind.PERCPU_HASH, MapKind.LRU_PERCPU_HASH}
_HIDDEN = {MapKind.BLOOM_FILTER, MapKind.PROG_ARRAY}  # nothing to compare
_QUEUES = {MapKind.QUEUE, MapKind.STACK}
# What the kernel says of programs that are too much work to verify.
_COMPLEX = ("too many", "too large", "too complex", "1000000 insn", "processed 1000001")
_numbers = itertools.count()


class Outcome(NamedTuple):
    """What came of one program, or of LLVM's part in it.

    `fault` is "" where all agree. `llvm` is "agrees", "cannot", "refused" or "".
    """

    fault: str = ""
    detail: str = ""
    llvm: str = ""
    excuse: str = ""  # why there was nothing to compare: "stack", "complexity"


class Observed(NamedTuple):
    """What a program did."""

    returned: list[int]
    packets: list[bytes]
    left: dict[str, Any]


class Mismatch(Exception):  # noqa: N818 - it is what is looked for
    """Two ways do not agree."""


def try_(source: Source, *, with_llvm: bool = True) -> Outcome:
    """Compile, run and compare."""
    with cell(source.text) as names:
        return _tried(source, names, with_llvm=with_llvm)


def _tried(source: Source, names: dict[str, Any], *, with_llvm: bool) -> Outcome:
    given = inputs(source.seed, RUNS)
    program = names["program"]
    try:
        spec = collect([program], target=target(source.target))
        wanted = predicted(program, spec, given, source.hook)
        got = observed(spec, program, given, source.hook)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
        return _failed(error)
    if (detail := difference(wanted, got)) is not None:
        return Outcome("own generator and evaluate() differ", detail)
    return _by_llvm(source, program, given, wanted) if with_llvm else Outcome()


def target(word: str) -> Target:
    """What a program is compiled for."""
    match word:
        case "running":
            return running()
        case "portable":
            return Target()
        case _:
            level = int(word[1:])
            return Target(level, tuple(FEATURES) if level == 4 else PORTABLE)


def _failed(error: Exception) -> Outcome:
    match error:
        case CompileError() if "bytes of stack" in str(error):
            return Outcome(excuse="stack")
        case CompileError():
            return Outcome("refused by the compiler", _told(error))
        case VerifierError() if is_complex(error):
            return Outcome(excuse="complexity")
        case VerifierError():
            return Outcome("refused by the kernel", f"{error}\n{error.log[-2000:]}")
        case BeewireError():
            return Outcome("evaluate() failed", str(error))
        case _:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{where.filename}:{where.lineno}"
            return Outcome("the compiler failed", f"{error!r} at {place}")


def _by_llvm(
    source: Source, program: Any, given: list[Input], wanted: Observed
) -> Outcome:
    try:
        spec = collect([program], target=target(source.target), optimize="llvm")
    except CompileError as error:
        return Outcome(llvm="cannot", detail=str(error))
    try:
        got = observed(spec, program, given, source.hook)
    except VerifierError as error:
        return Outcome(llvm="refused", detail=str(error))
    if (detail := difference(wanted, got)) is not None:
        return Outcome("LLVM and evaluate() differ", detail)
    return Outcome(llvm="agrees")


def _told(error: CompileError) -> str:
    first = error.diagnostics[0]
    return f"line {first.line}: {first.text.strip()}: {error}"


def is_complex(error: VerifierError) -> bool:
    """Whether the kernel gave up on a program, rather than finding a fault."""
    said = f"{error} {error.log[-400:]}"
    return any(words in said for words in _COMPLEX)


# The program's source stands in `linecache`, where the compiler finds that of notebooks.


@contextmanager
def cell(text: str) -> Iterator[dict[str, Any]]:
    """Run source text; the names that it defines."""
    filename = f"<fuzz {next(_numbers)}>"
    lines = text.splitlines(keepends=True)
    linecache.cache[filename] = (len(text), None, lines, filename)
    names: dict[str, Any] = {"__name__": "cell"}
    code: CodeType = compile(text, filename, "exec")
    exec(code, names)
    try:
        yield names
    finally:
        del linecache.cache[filename]


# In the kernel.


def observed(spec: Collection, program: Any, given: list[Input], hook: str) -> Observed:
    """What the compiled program does."""
    returned, packets = [], []
    with load(spec) as loaded:
        live = loaded[program].live
        for each in given:
            if hook == "xdp":
                result = live.test_run(data_in=each.packet)
                packets.append(result.data_out)
            else:
                words = [*each.arguments, *[0] * (12 - len(each.arguments))]
                result = live.test_run(ctx_in=struct.pack("=12Q", *words))
            returned.append(result.retval)
        left = {
            name: _held(loaded[declared])
            for name, declared in spec.reached.maps.items()
            if declared.kind not in _HIDDEN
        }
        left |= {name: loaded.globals[name] for name in spec.reached.globals}
    return Observed(returned, packets, left)


def _held(table: Any) -> Any:
    if hasattr(table, "values") and not callable(table.values):
        return table.values[this_cpu()]  # a per-CPU global
    if table.kind is MapKind.RINGBUF:
        return table.poll()
    if table.kind in _QUEUES:
        # It can be read by emptying it only.
        found = []
        while (value := table.pop()) is not None:
            found.append(getattr(value, "value", value))
        return found if table.kind is MapKind.QUEUE else found[::-1]
    if table.kind in _PER_CPU:
        cpu = this_cpu()
        return {key: each[cpu] for key, each in table.items()}
    return dict(table.items())


def this_cpu() -> int:
    """The one CPU that this process runs on."""
    [cpu] = os.sched_getaffinity(0)
    return cpu


@contextmanager
def on_one_cpu(number: int = 0) -> Iterator[None]:
    """Stay on one CPU: per-CPU maps are compared by its values."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[number % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# By the rules.


def predicted(
    program: Any, spec: Collection, given: list[Input], hook: str
) -> Observed:
    """What `evaluate()` says that the program does."""
    world = surroundings()
    run = prepare(program)
    returned, packets = [], []
    for each in given:
        if hook == "xdp":
            packet = bytearray(each.packet)
            returned.append(run(world, packet) & _M32)
            packets.append(bytes(packet))
        else:
            returned.append(run(world, {"args": each.arguments}) & _M32)
    left: dict[str, Any] = {}
    for name, declared in spec.reached.maps.items():
        if declared.kind is MapKind.RINGBUF:
            left[name] = world.sent(declared)
        elif declared.kind in _QUEUES:
            left[name] = world.queued(declared)
        elif isinstance(declared, PerCpuDecl):
            left[name] = world.value(declared)
        elif declared.kind not in _HIDDEN:
            left[name] = world.entries(declared)
    for name, variable in spec.reached.globals.items():
        left[name] = world.value(variable)
    return Observed(returned, packets, left)


def surroundings() -> World:
    """What the kernel says to a program that this process runs."""
    mine, parent = os.getpid(), os.getppid()
    answers = {
        "current_tgid": mine,
        "current_pid": threading.get_native_id(),
        "current_uid": os.getuid(),
        "cpu_id": this_cpu(),
    }
    task = {
        "tgid": mine,
        "real_parent": {"tgid": parent},
        "group_leader": {"tgid": mine},
    }
    return World(answers, task)


def difference(wanted: Observed, got: Observed) -> str | None:
    """What differs, or None."""
    for number, (one, other) in enumerate(
        zip(wanted.returned, got.returned, strict=True)
    ):
        if one != other:
            return f"run {number} returns {other:#x}, not {one:#x}"
    for number, (packet, other_packet) in enumerate(
        zip(wanted.packets, got.packets, strict=True)
    ):
        if packet != other_packet:
            at = next(
                (
                    i
                    for i, (a, b) in enumerate(zip(packet, other_packet, strict=False))
                    if a != b
                ),
                len(packet),
            )
            return f"run {number}: the packet differs at byte {at}"
    for name, value in wanted.left.items():
        if got.left[name] != value:
            return f"{name} holds {got.left[name]}, not {value}"
    return None
