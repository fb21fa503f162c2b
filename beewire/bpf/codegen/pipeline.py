"""The passes in their order, from a function of the front end to instructions."""

from beewire.bpf.codegen.allocate import allocate
from beewire.bpf.codegen.dead import dead
from beewire.bpf.codegen.demand import demand
from beewire.bpf.codegen.emit import Emitted, emit
from beewire.bpf.codegen.fault import fault
from beewire.bpf.codegen.fuse import fuse
from beewire.bpf.codegen.layout import layout
from beewire.bpf.codegen.lower import lower
from beewire.bpf.codegen.machine import Machine, Part
from beewire.bpf.codegen.promote import promote
from beewire.bpf.codegen.seldom import (
    bounded,
    counters,
    divisions,
    early,
    rounds,
    small_loops,
)
from beewire.bpf.codegen.select import select
from beewire.bpf.codegen.sets import sets
from beewire.bpf.codegen.simplify import simplify
from beewire.bpf.codegen.ssa import ssa
from beewire.bpf.codegen.stack import stack
from beewire.bpf.codegen.tidy import tidy
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import Function, Slot, Span
from beewire.bpf.isa import Insn
from beewire.bpf.object.spec import CoreRelo, Relocation
from beewire.bpf.object.target import PLAIN, Target
from beewire.errors import CompileError
from beewire.reasons import Reason
from beewire.rows import Row

PASSES = (
    tidy,
    early,
    promote,
    lower,
    ssa,
    simplify,
    small_loops,
    bounded,
    divisions,
    stack,
    demand,
    counters,
    dead,
    sets,
    rounds,
    fuse,
)
STACK_LIMIT = 512  # MAX_BPF_STACK


class Code(Row):
    """A function as instructions.

    `lines` says from which slot on which source position holds; slots count 8 bytes.
    `stack_bytes` is how much of the 512 bytes of stack is in use.
    """

    insns: tuple[Insn, ...]
    relocations: tuple[Relocation, ...]
    lines: tuple[tuple[int, Span], ...]
    core_relos: tuple[CoreRelo, ...]
    stack_bytes: int


class StackError(CompileError):
    """`function` needs more stack than there is: `frame` bytes, most of it at `place`.

    `needs` says so in words.
    """

    def __init__(
        self, error: CompileError, function: str, frame: int, place: Span, needs: str
    ) -> None:
        super().__init__(error.diagnostics)
        self.function = function
        self.frame = frame
        self.place = place
        self.needs = needs


def generate(function: Function, target: Target = PLAIN) -> Code:
    """Compile `function` for kernels that have what `target` says.

    The function is used up: the passes rewrite it in place.

    Raises:
        CompileError: the stack does not suffice, a jump is too far, or the target
            lacks what the function asks for.
        SpecError: a local is read before it is set.
    """
    work = Work(function, target)
    for step in PASSES:
        step(work)
        if work.hopeless:
            raise _hopeless(function, work.hopeless)
    machine = select(work)
    allocate(machine, function)
    if machine.frame > STACK_LIMIT - work.reserved:
        raise _too_big(function, machine)
    emitted = _place(function, layout(machine), target)
    return Code(
        tuple(emitted.insns),
        tuple(emitted.relocations),
        tuple(emitted.lines),
        tuple(emitted.core_relos),
        machine.frame,
    )


def _place(function: Function, parts: list[Part], target: Target) -> Emitted:
    """Encode; jumps that do not reach go the long way round, where there is one."""
    long: frozenset[Part] = frozenset()
    while True:
        emitted = emit(parts, target, long)
        if not emitted.far:
            return emitted
        if not target.at_least(4):
            raise _too_far(function)
        long |= emitted.far


def _too_far(function: Function) -> CompileError:
    return fault(
        function.span,
        Reason.TOO_LONG,
        f"{function.name}() is too long for one function: a jump is over 32767 slots",
        "split it: tail calls and subprograms start afresh",
    )


def _too_big(function: Function, machine: Machine) -> StackError:
    needs = f"{function.name}() needs {machine.frame} bytes of stack"
    place, hint = function.span, "it keeps too many values at once"
    largest = max(machine.slots, key=lambda slot: slot.size, default=None)
    if largest is not None:
        needs += f", {largest.size} of them for {largest.name!r}"
        place = _first_use(function, largest)
        hint = "keep big data in a map, such as PerCpuArray[...](max_entries=1)"
    error = fault(place, Reason.STACK, f"{needs}; BPF has 512", hint)
    return StackError(error, function.name, machine.frame, place, needs)


def _hopeless(function: Function, slots: list[Slot]) -> StackError:
    machine = Machine(PLAIN)
    for slot in slots:
        machine.slots[slot] = machine.place(slot.size)
    return _too_big(function, machine)


def _first_use(function: Function, slot: Slot) -> Span:
    for op in function.ops():
        if op.span is not None and any(arg is slot for arg in op.args):
            return op.span
    return function.span
