"""Where a program's big locals go when the stack does not hold them: a scratch map."""

from beewire.bpf import ir
from beewire.bpf.codegen import Code
from beewire.bpf.codegen.fault import fault
from beewire.bpf.codegen.pipeline import StackError
from beewire.bpf.codegen.scratch import LEVELS, move, slots_of
from beewire.bpf.lang.decl import ProgramDecl
from beewire.bpf.lang.linking import generate
from beewire.bpf.lang.types import U32
from beewire.bpf.lang.unit import Unit
from beewire.bpf.object.kinds import MapKind
from beewire.bpf.object.spec import MapSpec
from beewire.bpf.object.target import Target
from beewire.hints import Callable
from beewire.reasons import Reason

NAME = "bw_scratch"
SLEEPABLE = 1 << 4  # BPF_F_SLEEPABLE
_SPARE = 64  # bytes of stack that finding a place, and what is spilled then, may take
_STACK = 512  # MAX_BPF_STACK
_SMALL = 16  # bytes: what is not worth a move, or must be on the stack
_TAIL_CALL = 12
# The kernel's per-CPU allocator gives no more at once (PCPU_MIN_UNIT_SIZE).
_LARGEST = 32 << 10


def relieve(
    error: StackError,
    function: ir.Function,
    decl: ProgramDecl,
    place_size: int,
    *,
    again: bool,
) -> MapSpec:
    """Move the biggest slots of `function` away; `again`: all that may be moved.

    Raises:
        CompileError: They cannot be moved here, or `error` if that would not help.
    """
    slots = sorted(slots_of(function), key=lambda slot: -slot.size)
    slots = [slot for slot in slots if slot.size > _SMALL]
    needed = error.frame - (_STACK - _SPARE)
    moved: list[ir.Slot] = []
    while slots and (again or needed > 0):
        moved.append(slots.pop(0))
        needed -= moved[-1].size
    if error.function != decl.name or not moved or _calls_away(function):
        raise error
    _check(error, decl, sum(slot.size for slot in moved))
    size = move(function, moved, NAME, decl.neutral, place_size)
    return MapSpec(
        NAME,
        kind=MapKind.PERCPU_ARRAY,
        key_size=U32.size,
        value_size=size,
        max_entries=1,
    )


def _calls_away(function: ir.Function) -> bool:
    """Whether it may end in another program, which would never free its place."""
    return any(
        isinstance(op, ir.Call) and op.target == _TAIL_CALL for op in function.ops()
    )


def _check(error: StackError, decl: ProgramDecl, size: int) -> None:
    if decl.flags & SLEEPABLE:
        raise fault(
            error.place,
            Reason.STACK,
            f"{error.needs}; BPF has 512, and a program that may sleep cannot keep the "
            "rest aside: others would wait for its place",
            "keep big data in a map of your own, keyed by the task",
        )
    if (size + 8) * LEVELS > _LARGEST:
        raise fault(
            error.place,
            Reason.STACK,
            f"{error.needs}; BPF has 512, and a place aside at most "
            f"{_LARGEST // LEVELS - 16}",
            "keep big data in a map, such as PerCpuArray[...](max_entries=1)",
        )


def relieved(
    error: StackError,
    decl: ProgramDecl,
    build: Callable[[], ir.Function],
    target: Target,
    unit: Unit,
) -> tuple[Code, MapSpec]:
    """The instructions of a program that did not fit, and the map that it needs.

    `build` gives the program's IR, which code generation uses up.

    Raises:
        CompileError: It needs too much stack, and too little of that can be moved.
    """
    function = build()
    scratch = relieve(error, function, decl, unit.place_size, again=False)
    try:
        return generate(function, unit, target), scratch
    except StackError as still:
        function = build()
        scratch = relieve(still, function, decl, unit.place_size, again=True)
    return generate(function, unit, target), scratch


def place_size(scratch: MapSpec) -> int:
    """How many bytes each level of nesting has in a scratch map."""
    return scratch.value_size // LEVELS & -8
