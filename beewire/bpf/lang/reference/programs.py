"""`goto(program)`: programs that go on in others."""

from typing import Any

from beewire.bpf.lang.builder import Frame
from beewire.bpf.lang.decl import ProgramDecl
from beewire.bpf.lang.marks import mark_of
from beewire.bpf.lang.reference.run import Run, answers
from beewire.errors import BeewireError

MAX_TAIL_CALLS = 33  # MAX_TAIL_CALL_CNT


class Goto(Exception):  # noqa: N818 - a way out, no error
    """`goto(program)`."""

    def __init__(self, program: ProgramDecl) -> None:
        super().__init__()
        self.program = program


@answers("goto")
def goto(run: Run, values: list[Any]) -> None:
    """Go on elsewhere, unless it was too often."""
    frame: Frame | None = run.frame
    while frame is not None:
        mark = mark_of(frame.function)
        if mark is not None and mark.is_subprogram:
            raise BeewireError("evaluate() knows no goto() in a subprogram")
        frame = frame.parent
    if run.world.tail_calls < MAX_TAIL_CALLS:
        run.world.tail_calls += 1
        raise Goto(values[0])
