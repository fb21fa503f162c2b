"""Passes for what many functions have none of: imported for those that do.

A program that needs none of them starts a millisecond sooner.
"""

from beewire.bpf.codegen.dead import dead
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import Binary, BinOp, Budget, Copy, Zero

_SIGNED = frozenset((BinOp.SDIV, BinOp.SMOD))


def early(work: Work) -> None:
    """Run `bound`, if there are loops that the kernel does not follow.

    And `words`, if memory is copied or cleared. Notes what else there is.
    """
    work.kinds = kinds = {
        op.op if type(op) is Binary else type(op)
        for block in work.function.blocks
        for op in block.ops
    }
    if Budget in kinds:
        from beewire.bpf.codegen.bound import bound  # noqa: PLC0415 - as said above

        bound(work)
    if Copy in kinds or Zero in kinds:
        from beewire.bpf.codegen.words import words  # noqa: PLC0415

        words(work)


def small_loops(work: Work) -> None:
    """Run `unroll`, if there are loops."""
    loops = work.loops()
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
    if not _SIGNED.isdisjoint(work.kinds):
        from beewire.bpf.codegen.divide import divide  # noqa: PLC0415

        divide(work)


def counters(work: Work) -> None:
    """Run `scale`, if there are loops."""
    if work.loops():
        from beewire.bpf.codegen.scale import scale  # noqa: PLC0415

        scale(work)


def rounds(work: Work) -> None:
    """Run the passes that make the rounds of loops cheaper, if there are any."""
    if work.loops():
        from beewire.bpf.codegen.blend import blend  # noqa: PLC0415
        from beewire.bpf.codegen.invariant import invariant  # noqa: PLC0415

        if blend(work):
            dead(work)  # what only the branches wanted
        invariant(work)
