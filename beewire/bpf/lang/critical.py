"""`with lock(value):` and `with rcu():`."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.attributes import present
from beewire.bpf.lang.builder import SPIN_UNLOCK, Builder
from beewire.bpf.lang.objects import SpinLock
from beewire.bpf.lang.structs import StructType
from beewire.bpf.lang.values import Memory, Reference, Value
from beewire.bpf.object.kinds import ProgramKind
from beewire.hints import Callable
from beewire.reasons import Reason

SPIN_LOCK = 93

# Programs that may run anywhere, inside of a lock's holder too (is_tracing_prog_type).
TRACING = frozenset({
    ProgramKind.KPROBE,
    ProgramKind.TRACEPOINT,
    ProgramKind.PERF_EVENT,
    ProgramKind.RAW_TRACEPOINT,
    ProgramKind.RAW_TRACEPOINT_WRITABLE,
})  # fmt: skip


def lock(b: Builder, node: ast.Call) -> Callable[[], None]:
    """Take the lock; what lets it go."""
    [argument] = required(arguments(b, node, ("value",)))
    if b.program is not None and b.program[0] in TRACING:
        message = "tracing programs have no locks"
        hint = "they run inside of whoever holds one: use atomic operations"
        raise b.refuse(node, Reason.LOCKED, message, hint)
    if b.locked:
        message = f"{b.locked} is held already: there is one lock at a time"
        raise b.refuse(node, Reason.LOCKED, message, "end its block first")
    address = _lock_in(b, argument, b.expr(argument))
    b.call(SPIN_LOCK, address)
    b.locked = f"the lock of {ast.unparse(argument)!r}"

    def unlock() -> None:
        b.call(SPIN_UNLOCK, address)
        b.locked = ""

    return unlock


def unlocked(b: Builder) -> None:
    """After the block."""
    b.locked = ""
    end_of(b, b.under_lock, "the end of its 'with lock' block")


def _lock_in(b: Builder, node: ast.expr, value: Value) -> ir.Op:
    if isinstance(value, Memory):
        present(b, value, node)
        if isinstance(value.type, StructType) and value.space is ir.Space.MAP:
            for field in value.type.fields.values():
                if field.type is SpinLock.__layout__:
                    return b.address(value.part(field.offset, field.type))
    raise b.refuse(
        node,
        Reason.WRONG_ARGUMENT,
        f"a map's value with a SpinLock is needed here, not {value.describe()}",
        "class Account(Struct): lock: SpinLock; balance: u64",
    )


def rcu(b: Builder, node: ast.Call) -> Callable[[], None]:
    """Enter the section; what leaves it."""
    arguments(b, node, ())
    if b.in_rcu:
        raise b.refuse(node, Reason.LOCKED, "this is inside of 'with rcu()' already")
    b.kfunc("bpf_rcu_read_lock")
    b.in_rcu = True

    def leave() -> None:
        b.kfunc("bpf_rcu_read_unlock")
        b.in_rcu = False

    return leave


def left(b: Builder) -> None:
    """After the block."""
    b.in_rcu = False
    end_of(b, b.under_rcu, "the end of its 'with rcu' block")


def end_of(b: Builder, references: list[Reference], by: str) -> None:
    """Nothing that was borrowed may be used any more."""
    for each in references:
        each.by = by
    b.flow = b.flow.release(frozenset(references))
    references.clear()


MANAGERS = {"lock": (lock, unlocked), "rcu": (rcu, left)}
