"""`@inline` and `@subprogram`: how a plain function becomes part of programs.

Without a mark the compiler decides: a small function, and one that a program calls once,
is compiled into its callers; a big one that is called more often is a subprogram.
"""

from beewire.errors import SpecError
from beewire.hints import Any, Callable, FunctionType, TypeVar, overload
from beewire.rows import Row

F = TypeVar("F", bound=Callable[..., Any])


class Mark(Row):
    """What an author said of a function: `@inline`, or `@subprogram`.

    `returns` is False of what the kernel calls: what it returns is for the kernel.
    """

    is_subprogram: bool
    is_global: bool = False
    returns: bool = True


# On the function itself: a table of functions would keep them, and their modules, alive.
_MARK = "__bpf_mark__"


def mark_of(function: object) -> Mark | None:
    """What the author said of `function`, if anything."""
    mark: Mark | None = getattr(function, _MARK, None)
    return mark


def inline(function: F) -> F:
    """Compile a function into each of its callers, however big it is.

    Raises:
        SpecError: It is no plain function.
    """
    return _mark(function, "inline", Mark(is_subprogram=False))


@overload
def subprogram(function: F, /) -> F: ...
@overload
def subprogram(*, is_global: bool = False) -> Callable[[F], F]: ...
def subprogram(function: Any = None, /, *, is_global: bool = False) -> Any:
    """Compile a function once, to be called by the programs of its object (BPF to BPF).

    It takes up to five arguments, and has a stack frame of its own. The kernel verifies a
    static one (Linux 4.16) wherever it is called, with what is known there. A global one
    (`is_global`, Linux 5.6) it verifies once and by itself: what it takes are integers,
    the context, and references to structs; other programs may replace it (freplace).

    Raises:
        SpecError: It marks no plain function.
    """
    mark = Mark(is_subprogram=True, is_global=is_global)
    if function is None:
        return lambda marked: _mark(marked, "subprogram", mark)
    return _mark(function, "subprogram", mark)


def _mark(function: F, name: str, mark: Mark) -> F:
    if not isinstance(function, FunctionType):
        raise SpecError(f"@{name} marks a plain function; {function!r} is none")
    setattr(function, _MARK, mark)
    return function
