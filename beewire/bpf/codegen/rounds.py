"""What makes the rounds of loops cheaper: `blend` and `invariant`.

Programs without loops need neither, and start sooner.
"""

from beewire.bpf.codegen import graph
from beewire.bpf.codegen.work import Work


def rounds(work: Work) -> None:
    """Run the passes for loops, if there are any."""
    if not graph.loops(work.function.blocks, work.dominators()):
        return
    from beewire.bpf.codegen.blend import blend  # noqa: PLC0415 - loops only
    from beewire.bpf.codegen.invariant import invariant  # noqa: PLC0415

    blend(work)
    invariant(work)
