"""How the compiler says no: a fault found here becomes a Diagnostic of a CompileError."""

from beewire.errors import Diagnostic
from beewire.hints import Any
from beewire.reasons import Reason


class Refused(Exception):  # noqa: N818 - what happened to the statement
    """A statement cannot be compiled. Caught where statements are recovered from."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class Follows(Exception):  # noqa: N818 - what happened to the statement
    """A statement uses what an earlier, refused statement should have made."""


class Rule(Exception):  # noqa: N818 - becomes a Refused where the place is known
    """A rule of the language that is broken; `hint` says what to write instead."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class Outline(Exception):  # noqa: N818 - no fault: a function turned out to be big
    """Compile again: `function` is to be a subprogram."""

    def __init__(self, function: object) -> None:
        super().__init__(function)
        self.function = function


class Retry(Exception):  # noqa: N818 - no fault: a variable turned out to be signed
    """Compile again: the variable `key`, typed by its first value, must be a `type`.

    An integer type; or, of a variable that was None first, a value of what it refers to.
    """

    def __init__(self, key: tuple[object, str], type: Any) -> None:  # noqa: A002
        super().__init__(key)
        self.key = key
        self.type = type


def under_lock(lock: str, what: str) -> Rule:
    """What a call of `what` breaks while `lock` is held."""
    return Rule(
        Reason.LOCKED,
        f"this calls a {what}, which is not allowed while {lock} is held",
        "do it before the block, or after it",
    )


def near(name: str, known: list[str]) -> str:
    """Advice when `name` looks like a slip for one of `known`, or ""."""
    from difflib import get_close_matches  # noqa: PLC0415 - costs 3 ms, errors only

    found = get_close_matches(name, known, 1)
    return f"did you mean {found[0]!r}?" if found else ""


def usual(code: str) -> str:
    """What to write instead, as a rule, of what is refused with `code`."""
    from beewire.bpf.lang.cures import CURES  # noqa: PLC0415 - errors only

    return CURES.get(code, "")
