"""Import a user's Python file, and tell its faults as sentences that point into it."""

import importlib.util
import linecache
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from beewire.bpf.author import Program, StructOps
from beewire.errors import BeewireError, CompileError, Diagnostic, UsageError
from beewire.reasons import Reason

STDIN = Path("-")
_NO_ARGUMENTS: Sequence[str] = ()


def has_tables(module: ModuleType) -> bool:
    """Whether the module has tables of operations: their functions are programs."""
    return any(
        isinstance(each, type) and issubclass(each, StructOps) and each is not StructOps
        for each in vars(module).values()
    )


def programs_of(module: ModuleType) -> Iterator[Program[Any]]:
    """The programs in a module's namespace; one under two names comes once."""
    found = (value for value in vars(module).values() if isinstance(value, Program))
    yield from dict.fromkeys(found)


def import_text(text: str) -> ModuleType:
    """Run `text`, which came from standard input, as a module.

    Raises:
        UsageError: running it raised an error.
        CompileError: it is no Python, or one of its programs is none.
    """
    path = Path("<stdin>")
    module = ModuleType("beewire_run_stdin")
    sys.modules[module.__name__] = module  # annotations are looked up there
    # The compiler, and tracebacks, find the source there.
    lines = text.splitlines(keepends=True)
    linecache.cache[str(path)] = (len(text), None, lines, str(path))
    with told_faults(path):
        exec(compile(text, str(path), "exec"), vars(module))
    return module


def import_file(path: Path, arguments: Sequence[str] = _NO_ARGUMENTS) -> ModuleType:
    """Run `path` as a module; it finds `arguments` in sys.argv. `-` is standard input.

    Its name is not `__main__`: what a script does when it is run stays undone.

    Raises:
        UsageError: there is no such file, or running it raised an error.
        CompileError: it is no Python, or one of its programs is none.
    """
    if path == STDIN:
        sys.argv = [str(path), *arguments]
        return import_text(sys.stdin.read())
    path = path.resolve()
    if path.is_dir():
        raise UsageError(f"{path} is a directory; name one Python file")
    if not path.exists():
        raise UsageError(f"there is no file {path}")
    name = f"beewire_run_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file: its name does not end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are looked up there
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.parent))
    with told_faults(path):
        spec.loader.exec_module(module)
    return module


@contextmanager
def told_faults(path: Path) -> Iterator[None]:
    """Turn what running the file raises into errors that point into it."""
    try:
        yield
    except BeewireError:
        raise
    except SyntaxError as error:
        raise as_compile_error(error, path) from error
    except Exception as error:
        raise told(error, path, UsageError) from error


def as_compile_error(error: SyntaxError, path: Path) -> CompileError:
    """Python's own refusal, in the form that every refusal of ours has."""
    return CompileError(
        (
            Diagnostic(
                Reason.PYTHON,
                error.msg,
                filename=error.filename or str(path),
                line=error.lineno or 1,
                column=error.offset or 1,
                end_line=error.end_lineno,
                end_column=error.end_offset,
                text=error.text or "",
            ),
        )
    )


def told(
    error: Exception, path: Path, kind: type[BeewireError] = BeewireError
) -> BeewireError:
    """A `kind` that says where in the file `path` the `error` came from, and what it is.

    An error that is Beewire's own says all that is needed and stays as it is.
    """
    if isinstance(error, BeewireError):
        return error
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno or 0 for frame in frames if Path(frame.filename) == path]
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if not lines:
        return kind(f"{path}: {what}")
    fault = kind(f"{path}:{lines[-1]}: {what}")
    fault.add_note(linecache.getline(str(path), lines[-1]).strip())
    return fault
