"""Passes for what many functions have none of: imported for those that do.

A program that needs none of them starts a millisecond sooner.
"""

from beewire.bpf.codegen import graph
from beewire.bpf.codegen.dead import dead
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import Binary, BinOp, Budget, Copy, Op, Zero


def budgets(work: Work) -> None:
    """Run `bound`, if there are loops that the kernel does not follow."""
    if _has(work, Budget):
        from beewire.bpf.codegen.bound import bound  # noqa: PLC0415 - as said above

        bound(work)


def copies(work: Work) -> None:
    """Run `words`, if memory is copied or cleared."""
    if _has(work, Copy, Zero):
        from beewire.bpf.codegen.words import words  # noqa: PLC0415

        words(work)


def small_loops(work: Work) -> None:
    """Run `unroll`, if there are loops."""
    loops = graph.loops(work.function.blocks, work.dominators())
    if loops:
        from beewire.bpf.codegen.unroll import unroll  # noqa: PLC0415

        unroll(work, loops)


def bounded(work: Work) -> None:
    """Run `veil`, if there are loops that `bound` has left to the kernel."""
    if work.bounded:
        from beewire.bpf.codegen.veil import veil  # noqa: PLC0415

        veil(work)


def divisions(work: Work) -> None:
    """Run `divide`, if there are signed divisions that the kernel does not have."""
    signed = (BinOp.SDIV, BinOp.SMOD)
    ops = work.function.ops()
    if any(isinstance(op, Binary) and op.op in signed for op in ops):
        from beewire.bpf.codegen.divide import divide  # noqa: PLC0415

        divide(work)


def counters(work: Work) -> None:
    """Run `scale`, if there are loops."""
    if graph.loops(work.function.blocks, work.dominators()):
        from beewire.bpf.codegen.scale import scale  # noqa: PLC0415

        scale(work)


def rounds(work: Work) -> None:
    """Run the passes that make the rounds of loops cheaper, if there are any."""
    if graph.loops(work.function.blocks, work.dominators()):
        from beewire.bpf.codegen.blend import blend  # noqa: PLC0415
        from beewire.bpf.codegen.invariant import invariant  # noqa: PLC0415

        if blend(work):
            dead(work)  # what only the branches wanted
        invariant(work)


def _has(work: Work, *kinds: type[Op]) -> bool:
    return any(isinstance(op, kinds) for op in work.function.ops())
