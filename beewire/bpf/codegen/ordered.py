"""Which atomic operations a kernel has."""

from beewire.bpf.codegen.fault import fault
from beewire.bpf.ir import Atomic, AtomicOp, Span
from beewire.bpf.object.target import ACQUIRE, FETCH, Target
from beewire.reasons import Reason


def check_atomic(target: Target, op: Atomic, *, wanted: bool, span: Span) -> None:
    """Make sure that the target can do `op`; `wanted`: somebody uses what it yields.

    Raises:
        CompileError: It cannot.
    """
    if op.op in {AtomicOp.LOAD_ACQ, AtomicOp.STORE_REL}:
        if not target.has(ACQUIRE):
            raise fault(
                span,
                Reason.ISA,
                "this kernel has neither load-acquire nor store-release",
                "they need Linux 6.15: use fetch_add(place, 0) and xchg(place, value)",
            )
        return
    if op.op is AtomicOp.ADD and not (op.fetch and wanted):
        return
    if target.has(FETCH):
        return
    raise fault(
        span,
        Reason.ISA,
        "this instruction set has no atomic operation but adding",
        "the value before the operation, and, or, xor, xchg and cmpxchg need Linux 5.12",
    )
