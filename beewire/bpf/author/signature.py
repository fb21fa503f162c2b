"""Whether a function can be a program at all: one parameter, annotated, plain `def`.

The compiler reads the body later; this is said where the function is defined.
"""

from __future__ import annotations

from beewire.bpf.lang.contexts import Arguments, Context
from beewire.bpf.lang.structs import Struct
from beewire.errors import CompileError, Diagnostic, SpecError
from beewire.hints import Any, Callable, CodeType, FunctionType
from beewire.reasons import Reason

_ASYNC = 0x80 | 0x200  # CO_COROUTINE, CO_ASYNC_GENERATOR
_GENERATOR = 0x20
_STARRED = 0x4 | 0x8  # CO_VARARGS, CO_VARKEYWORDS


def check_signature(
    function: object, hook: str, context: type[Context]
) -> Callable[..., Any]:
    """`function`, which is fit to be a program of `hook`.

    Raises:
        CompileError: It is not; the message says what to write.
        SpecError: It is no function.
    """
    if not isinstance(function, FunctionType):
        raise SpecError(f"@{hook} marks a function; {function!r} is none")
    code = function.__code__
    shape = f"def {function.__name__}(ctx: {context.__name__}) -> None:"
    count = code.co_argcount + code.co_kwonlyargcount
    if code.co_flags & _ASYNC:
        raise _refusal(function, "a program cannot be async", f"write {shape}")
    if code.co_flags & _GENERATOR:
        raise _refusal(function, "a program cannot yield", "send records by a RingBuf")
    if issubclass(context, Arguments):
        _check_arguments(function, hook)
        return function
    if count != 1 or code.co_kwonlyargcount or code.co_flags & _STARRED:
        takes = f"a program of @{hook} takes one parameter, its context"
        raise _refusal(function, takes, f"write {shape}")
    _check_annotations(function, hook, context, shape)
    return function


def _check_arguments(function: FunctionType, hook: str) -> None:
    """Of a program whose parameters are arguments: each is annotated."""
    code = function.__code__
    shape = f"def {function.__name__}(task: task_struct) -> None:"
    if code.co_kwonlyargcount or code.co_flags & _STARRED:
        takes = f"a program of @{hook} takes arguments by their place"
        raise _refusal(function, takes, f"write {shape}")
    for parameter in code.co_varnames[: code.co_argcount]:
        if parameter not in function.__annotations__:
            message = f"parameter {parameter!r} has no annotation"
            raise _refusal(function, message, f"write {shape}")
    if "return" not in function.__annotations__:
        message = f"{function.__name__} does not say what it returns"
        raise _refusal(function, message, f"write {shape[:-1]}, or -> int")


def _check_annotations(
    function: FunctionType, hook: str, context: type[Context], shape: str
) -> None:
    parameter = function.__code__.co_varnames[0]
    found = function.__annotations__
    if parameter not in found:
        message = f"parameter {parameter!r} has no annotation"
        raise _refusal(function, message, f"write {shape}")
    if "return" not in found:
        message = f"{function.__name__} does not say what it returns"
        raise _refusal(function, message, f"write {shape[:-1]}, or -> int")
    given = found[parameter]
    # A string is resolved by the compiler, when all names are defined.
    if isinstance(given, str):
        return
    if context.is_struct and isinstance(given, type) and issubclass(given, Struct):
        return
    if not (isinstance(given, type) and issubclass(given, context)):
        name = getattr(given, "__name__", repr(given))
        message = f"a program of @{hook} gets {context.__name__}, not {name}"
        raise _refusal(function, message, f"write {shape}")


def _refusal(function: FunctionType, message: str, hint: str) -> CompileError:
    line, column, text = _place(function.__code__)
    return CompileError((
        Diagnostic(
            Reason.SIGNATURE,
            message,
            filename=function.__code__.co_filename,
            line=line,
            column=column,
            text=text,
            end_line=line,
            end_column=len(text.rstrip()) + 1,
            hint=hint,
        ),
    ))  # fmt: skip


def _place(code: CodeType) -> tuple[int, int, str]:
    """Line, column and text of the `def`, which stands below its decorators."""
    from linecache import getline  # noqa: PLC0415 - when there is something to refuse

    for line in range(code.co_firstlineno, code.co_firstlineno + 20):
        text = getline(code.co_filename, line)
        if text.lstrip().startswith(("def ", "async def ")):
            return line, len(text) - len(text.lstrip()) + 1, text
    return code.co_firstlineno, 1, ""
