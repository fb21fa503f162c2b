"""Every error that Beewire raises on purpose, in one tree.

    BeewireError
    |-- CompileError (also a SyntaxError)   the Python source of a program cannot be compiled
    |-- FormatError (also a ValueError)     bytes or text that are not what they should be
    |   |-- EncodingError                   a value that does not fit its encoding
    |   `-- DecodingError                   bytes or text that are no instruction of ours
    |       `-- ObjectError                 a malformed object file, or BTF
    |-- SpecError (also a ValueError)       an ObjectSpec that contradicts itself
    |-- KernelError (also an OSError)       bpf(2) or its kin refused; carries errno and command
    |   |-- VerifierError                   BPF_PROG_LOAD refused the program; carries the log
    |   |-- NotSupported                    this kernel lacks a feature
    |   `-- NotPermitted                    the process lacks a capability
    |-- PolicyError                         this machine's policy does not allow a load
    |-- AttachError                         a program cannot be attached where it was asked to
    |-- MapError (also a LookupError)       a map operation that the map does not allow
    |-- MeshError                           the mesh or its lab cannot do what was asked
    |-- GuestError                          another kernel cannot be booted, or it died
    `-- UsageError                          the command line or a user's file is wrong

`str()` of each is one sentence; longer context travels in `__notes__`.
"""


class BeewireError(Exception):
    """Base of all errors that Beewire raises on purpose."""


class Diagnostic:
    """One fault in a program's source: where it is, what it is, what to write instead.

    `code` is one of `beewire.reasons.Reason`: docs/errors has a page for it. Lines and
    columns count from 1, as in Python's own SyntaxError.
    """

    __slots__ = (
        "code",
        "column",
        "end_column",
        "end_line",
        "filename",
        "hint",
        "line",
        "message",
        "text",
    )

    def __init__(  # noqa: PLR0913 - the fields of a source position belong together
        self,
        code: str,
        message: str,
        *,
        filename: str,
        line: int,
        column: int,
        end_line: int | None = None,
        end_column: int | None = None,
        text: str = "",
        hint: str = "",
    ) -> None:
        self.code = code
        self.message = message
        self.filename = filename
        self.line = line
        self.column = column
        self.end_line = end_line
        self.end_column = end_column
        self.text = text
        self.hint = hint


class CompileError(BeewireError, SyntaxError):
    """A program's source cannot be compiled; Python prints file, line and caret.

    `diagnostics` holds every fault found; the first one is what `str()` says.
    """

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        first = diagnostics[0]
        super().__init__(
            f"{first.message} [{first.code}]",
            (
                first.filename,
                first.line,
                first.column,
                first.text,
                first.end_line,
                first.end_column,
            ),
        )
        self.diagnostics = diagnostics
        if first.hint:
            self.add_note(first.hint)


class FormatError(BeewireError, ValueError):
    """Bytes or text that are not what they should be."""


class EncodingError(FormatError):
    """A value that does not fit its encoding."""


class DecodingError(FormatError):
    """Bytes or text that are no instruction that we know."""


class ObjectError(DecodingError):
    """An object file (ELF, .BTF, .BTF.ext) that is malformed, or holds what we do not know.

    Whatever the bytes are, reading them ends with this error or without one.
    """


class SpecError(BeewireError, ValueError):
    """An ObjectSpec that contradicts itself."""


class KernelError(BeewireError, OSError):
    """bpf(2), or a system call beside it, refused.

    `errno` is the kernel's; `command` names what was asked, such as "MAP_CREATE".
    """

    def __init__(self, errno: int, command: str, message: str) -> None:
        super().__init__(errno, message)
        self.command = command

    def __str__(self) -> str:
        return str(self.strerror)


class VerifierError(KernelError):
    """BPF_PROG_LOAD refused a program.

    `log` is the verifier's whole log, `insn` the slot it stopped at (-1: unknown).
    """

    def __init__(self, errno: int, message: str, *, log: str, insn: int = -1) -> None:
        super().__init__(errno, "PROG_LOAD", message)
        self.log = log
        self.insn = insn


class NotSupported(KernelError):  # noqa: N818 - a fact about the kernel, read as one
    """This kernel lacks a feature; `since` is the first mainline version that has it."""

    def __init__(self, errno: int, feature: str, since: str = "") -> None:
        message = f"this kernel does not support {feature}"
        if since:
            message += f" (mainline Linux has it since {since})"
        super().__init__(errno, feature, message)
        self.feature = feature
        self.since = since


class NotPermitted(KernelError):  # noqa: N818 - a fact about the process, read as one
    """The process lacks a capability; the message names it."""


class PolicyError(BeewireError):
    """A policy of this machine does not allow a load, or cannot be believed.

    `policy` is the path of its file; `rule` the rule that decided, or "".
    """

    def __init__(self, message: str, policy: str, *, rule: str = "") -> None:
        super().__init__(message)
        self.policy = policy
        self.rule = rule


class AttachError(BeewireError):
    """A program cannot be attached where it was asked to."""


class MapError(BeewireError, LookupError):
    """A map operation that the map does not allow."""


class MeshError(BeewireError):
    """The mesh or its lab cannot do what was asked."""


class GuestError(BeewireError):
    """A guest cannot be made, or it died before its command ended.

    What its console said last is in the notes.
    """


class UsageError(BeewireError):
    """The command line, or a file that the user names, is wrong."""
