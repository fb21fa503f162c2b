"""A fault in the source that only the code generator can see."""

from beewire.bpf.ir import Span
from beewire.errors import CompileError, Diagnostic


def fault(span: Span, code: str, message: str, hint: str) -> CompileError:
    """The error to raise, with the source line where it can be found."""
    from linecache import getline  # noqa: PLC0415 - only a fault needs the source

    diagnostic = Diagnostic(
        code,
        message,
        filename=span.file,
        line=span.line,
        column=span.column,
        end_line=span.end_line,
        end_column=span.end_column,
        text=getline(span.file, span.line),
        hint=hint,
    )
    return CompileError((diagnostic,))
