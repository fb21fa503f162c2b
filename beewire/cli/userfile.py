"""Import a user's Python file, and tell its faults as sentences that point into it."""

import importlib.util
import linecache
import sys
import traceback
from pathlib import Path
from types import ModuleType

from beewire.errors import BeewireError, CompileError, Diagnostic, UsageError
from beewire.reasons import Reason


def import_file(path: Path, arguments: list[str]) -> ModuleType:
    """Run `path` as a module; it finds `arguments` in sys.argv.

    Its name is not `__main__`: what a script does when it is run stays undone.

    Raises:
        UsageError: there is no such file, or running it raised an error.
        CompileError: it is no Python, or one of its programs is none.
    """
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
    try:
        spec.loader.exec_module(module)
    except BeewireError:
        raise
    except SyntaxError as error:
        raise as_compile_error(error, path) from error
    except Exception as error:
        raise told(error, path, UsageError) from error
    return module


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
