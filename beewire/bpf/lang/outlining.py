"""Whether a function is compiled into its caller, or once and called."""

from beewire.bpf.lang.bodies import Given
from beewire.bpf.lang.builder import Builder, Frame
from beewire.bpf.lang.faults import Outline
from beewire.bpf.lang.marks import mark_of
from beewire.hints import Any

# A function of as many operations is big. A call costs more than a few moves: constant
# arguments become variables, and what is the same in every round of a loop is computed in
# each; so hashes and the like are still compiled in.
BIG = 512


def is_due(b: Builder, frame: Frame, given: list[Given]) -> bool:
    """Whether a call is to be one, rather than the function's body.

    Raises:
        Outline: It should have been one before already.
    """
    function, unit = frame.function, b.unit
    mark = mark_of(function)
    if mark is not None:
        return mark.is_subprogram
    is_big = function in b.inlined and unit.sizes[function] >= BIG
    if function in unit.inlined or not (is_big or function in unit.outlined):
        return False
    from beewire.bpf.lang.passing import passes  # noqa: PLC0415 - few programs need it

    # Within `with` it may hold a lock, under which older kernels allow no calls.
    if _holds(b.frame) or not passes(frame.wanted, given):
        return False
    if function in unit.outlined:
        return True
    raise Outline(function)


def note_inlined(b: Builder, function: Any, size: int) -> None:
    """Remember that `function` was compiled in, and how big it was."""
    b.inlined.add(function)
    b.unit.sizes[function] = size


def _holds(frame: Frame) -> bool:
    outer: Frame | None = frame
    while outer is not None:
        if outer.cleanups:
            return True
        outer = outer.parent
    return False
