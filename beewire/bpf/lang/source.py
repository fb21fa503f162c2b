"""Where a function's source is: the syntax tree of its definition, and its lines."""

import os
import sys
from codecs import BOM_UTF8

from beewire.bpf.ir import Span
from beewire.bpf.lang import pyast as ast
from beewire.bpf.object.spec import LineInfo
from beewire.errors import CompileError, Diagnostic
from beewire.hints import CodeType, FunctionType, Iterable
from beewire.reasons import Reason

Definition = ast.FunctionDef


class Source:
    """A file of Python, parsed once."""

    __slots__ = ("_definitions", "filename", "is_ascii", "lines", "tree")

    def __init__(self, filename: str, text: str) -> None:
        self.filename = filename
        self.is_ascii = text.isascii()
        self.lines = _lines(text)
        self.tree = ast.parse(text, filename)
        self._definitions: dict[tuple[int, str], Definition] | None = None

    def definition(self, code: CodeType) -> Definition | None:
        """The definition that `code` was compiled from."""
        if self._definitions is None:
            self._definitions = {}
            _collect(self.tree.body, self._definitions)
        return self._definitions.get((code.co_firstlineno, code.co_name))

    def line(self, number: int) -> str:
        """Line `number`, counted from 1; "" past the end."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def span(self, node: ast.expr | ast.stmt | ast.pattern) -> Span:
        """The place of `node`. Python counts columns in bytes, a Span in characters."""
        line, start = node.lineno, node.col_offset
        end_line, end = node.end_lineno or line, node.end_col_offset or start
        if not self.is_ascii:
            start = _characters(self.line(line), start)
            end = _characters(self.line(end_line), end)
        return Span._make((self.filename, line, start + 1, end_line, end + 1))


def find(function: FunctionType) -> tuple[Source, Definition]:
    """The source of `function` and its definition there.

    Raises:
        CompileError: There is no source, or it changed since it was imported.
    """
    code = function.__code__
    source = _sources.get(code.co_filename)
    if source is None or not _is_current(source):
        source = _read(function)
        _keep(source)
    found = source.definition(code)
    if found is None:
        raise _lost(
            code,
            f"the source of {code.co_name!r} is not where it was when it was imported",
            "a program is a plain 'def'; start again if the file has changed",
        )
    return source, found


def lines(table: Iterable[tuple[int, Span]]) -> tuple[LineInfo, ...]:
    """A table from slots to places, with the text of each line."""
    made: list[LineInfo] = []
    source: Source | None = None
    for slot, (file, line, column, _, _) in table:
        if source is None or source.filename != file:
            source = of_file(file)
        text = source.line(line) if source is not None else ""
        made.append(LineInfo._make((slot, file, line, column, text)))
    return tuple(made)


def of_file(filename: str) -> Source | None:
    """A source that `find` has read."""
    return _sources.get(filename)


# By file name. `_stamps` tells whether a file changed since. A process that compiles for
# ever, cell after cell, keeps the sources that it read last.
_sources: dict[str, Source] = {}
_stamps: dict[str, tuple[int, int]] = {}
_KEPT = 256


def _keep(source: Source) -> None:
    _sources.pop(source.filename, None)
    if len(_sources) == _KEPT:
        oldest = next(iter(_sources))
        del _sources[oldest]
        _stamps.pop(oldest, None)
    _sources[source.filename] = source


def _collect(body: list[ast.stmt], into: dict[tuple[int, str], Definition]) -> None:
    for node in body:
        if type(node) in _SIMPLE:
            continue
        if isinstance(node, ast.FunctionDef):
            first = node.decorator_list[0] if node.decorator_list else node
            into[first.lineno, node.name] = node
        for name in ("body", "orelse", "finalbody"):
            _collect(getattr(node, name, []), into)
        for part in (*getattr(node, "handlers", []), *getattr(node, "cases", [])):
            _collect(part.body, into)


_SIMPLE = frozenset((ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return))


def _lines(text: str) -> list[str]:
    # As Python counts them: str.splitlines() breaks at form feeds too, and others.
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _characters(line: str, offset: int) -> int:
    return len(line.encode()[:offset].decode("utf-8", "replace"))


def _stamp(filename: str) -> tuple[int, int] | None:
    try:
        status = os.stat(filename)  # noqa: PTH116 - pathlib costs 5 ms at start-up
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _is_current(source: Source) -> bool:
    # Cells of a notebook have no file: linecache holds the text of this very object.
    stamp = _stamps.get(source.filename)
    if stamp is None:
        return _lines(_cached_text(source.filename)) == source.lines
    return stamp == _stamp(source.filename)


def _cached_text(filename: str) -> str:
    # doctest, IPython and exec() put text where linecache finds it. When nobody has
    # imported linecache, nobody has put any there.
    linecache = sys.modules.get("linecache")
    return "".join(linecache.getlines(filename)) if linecache is not None else ""


def _read(function: FunctionType) -> Source:
    filename = function.__code__.co_filename
    stamp = _stamp(filename)
    if stamp is not None:
        _stamps[filename] = stamp
        with open(filename, "rb") as file:  # noqa: PTH123 - pathlib costs 5 ms
            return Source(filename, _decode(file.read()))
    _stamps.pop(filename, None)
    text = _cached_text(filename) or _loaded_text(function)
    if not text:
        raise _lost(
            function.__code__,
            f"the source of {function.__name__!r} cannot be found",
            "write the program to a file: it is compiled from its source",
        )
    return Source(filename, text)


def _decode(raw: bytes) -> str:
    if b"coding" not in raw[:200]:
        return raw.removeprefix(BOM_UTF8).decode()
    from importlib.util import decode_source  # noqa: PLC0415 - for old encodings only

    return decode_source(raw)


def _loaded_text(function: FunctionType) -> str:
    # A module in a zip file.
    spec = function.__globals__.get("__spec__")
    get_source = getattr(getattr(spec, "loader", None), "get_source", None)
    return (get_source(spec.name) or "") if spec and get_source else ""


def _lost(code: CodeType, message: str, hint: str) -> CompileError:
    place = Diagnostic(
        Reason.SOURCE,
        message,
        filename=code.co_filename,
        line=code.co_firstlineno,
        column=1,
        hint=hint,
    )
    return CompileError((place,))


def stored_names(body: list[ast.stmt]) -> set[str]:
    """The names that statements assign."""
    found: set[str] = set()
    stack: list[ast.AST] = list(body)
    while stack:
        node = stack.pop()
        kind = type(node)
        if kind is ast.Name:
            if type(node.ctx) is not ast.Load:  # type: ignore[attr-defined]
                found.add(node.id)  # type: ignore[attr-defined]
            continue
        if kind is ast.MatchAs and node.name:  # type: ignore[attr-defined]
            found.add(node.name)  # type: ignore[attr-defined]
        fields = _inner.get(kind)
        if fields is None:
            fields = _inner[kind] = tuple([f for f in node._fields if f not in _WORDS])
        for name in fields:
            inner = getattr(node, name, None)
            if type(inner) is list:
                stack += inner
            elif inner is not None:
                stack.append(inner)
    return found


# Fields in which no name is stored.
_WORDS = frozenset(("annotation", "attr", "ctx", "kind", "op", "ops", "type_comment"))
# The other fields, by kind of node. Scopes have names of their own.
_inner: dict[type, tuple[str, ...]] = dict.fromkeys(
    (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.Constant, str, int, bool), ()
)
