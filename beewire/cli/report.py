"""How an error reads on a terminal: one sentence, then what helps. Never a traceback.

BEEWIRE_TRACEBACK=1 shows where an error was raised, for those who mend Beewire itself.
"""

import os
import sys

from beewire.errors import BeewireError, CompileError

TRACEBACK = "BEEWIRE_TRACEBACK"


def report(error: BaseException) -> None:
    """Print `error` to standard error."""
    if os.environ.get(TRACEBACK):
        sys.excepthook(type(error), error, error.__traceback__)
        return
    for line in sentences(error):
        print(line, file=sys.stderr)


def sentences(error: BaseException) -> list[str]:
    """The lines that tell `error` to who typed the command."""
    match error:
        case CompileError():
            return compile_faults(error)
        case BeewireError():
            return [f"beewire: {error}", *notes(error)]
        case OSError():
            return [f"beewire: {system_error(error)}", *notes(error)]
        case _:
            return [
                f"beewire: a fault of Beewire itself: {type(error).__name__}: {error}",
                f"  {TRACEBACK}=1 shows where; please report it.",
            ]


def system_error(error: OSError) -> str:
    """`error` without its number: "x.json: No such file or directory"."""
    if error.strerror is None:
        return str(error)
    if error.filename is None:
        return error.strerror
    name = error.filename
    shown = name.decode(errors="replace") if isinstance(name, bytes) else name
    return f"{shown}: {error.strerror}"


def notes(error: BaseException) -> list[str]:
    """What was added to `error` on its way up, indented."""
    found: list[str] = getattr(error, "__notes__", [])
    return ["  " + line for note in found for line in note.splitlines()]


def compile_faults(error: CompileError) -> list[str]:
    """Each fault as Python prints a SyntaxError: file, line, caret; then the hint."""
    import traceback  # noqa: PLC0415 - only here, after something went wrong

    lines = []
    for diagnostic in error.diagnostics:
        alone = CompileError((diagnostic,))
        printed = "".join(traceback.format_exception_only(alone)).splitlines()
        sentence = f"{type(alone).__module__}.{type(alone).__qualname__}: "
        lines += [line.replace(sentence, "beewire: ", 1) for line in printed]
    shown = {diagnostic.hint for diagnostic in error.diagnostics}
    added = getattr(error, "__notes__", [])
    return lines + [f"  {note}" for note in added if note not in shown]
