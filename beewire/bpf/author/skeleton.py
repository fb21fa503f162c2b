"""The loader module of an object: the module it came from, with compiled programs.

Of the module's source stay the statements that its maps, globals and the signatures of
its programs need, in an order in which they can run; a program keeps its decorator and
its signature. So a skeleton looks the same to type checkers, editors and callers.
"""

from __future__ import annotations

import ast
import builtins
import sys
from pathlib import Path
from typing import NamedTuple

from beewire.bpf.author.collection import Collection
from beewire.bpf.author.prepared import pack_object
from beewire.bpf.lang import GlobalDecl, MapDecl, ProgramDecl
from beewire.errors import SpecError
from beewire.hints import ModuleType

_BODY = '    raise RuntimeError("compiled: the kernel runs it")'
_WIDTH = 80


class _Place(NamedTuple):
    """Where a name is defined."""

    module: ModuleType
    name: str


def skeleton_text(module: ModuleType, spec: Collection, content: bytes) -> str:
    """Return the source of a module that loads `content`, the object file of `spec`.

    Raises:
        SpecError: The module's source is lost, or what it needs cannot be copied.
    """
    slicer = _Slicer(module)
    reached = spec.reached
    declared: list[MapDecl | GlobalDecl] = [*reached.maps.values()]
    for each in [*declared, *reached.globals.values()]:
        slicer.need(slicer.place_of(each))
    for program in reached.programs.values():
        slicer.program(program)
    file = Path(module.__file__ or module.__name__).name
    head = [
        f'"""{file}, compiled. Written by `beewire build --skeleton`; do not edit."""'
    ]
    slicer.imported.setdefault("beewire.bpf", set()).add("prebuilt")
    body = "\n\n\n".join(slicer.texts)
    packed = pack_object(content)
    lines = [
        f'    "{packed[start : start + _WIDTH]}"'
        for start in range(0, len(packed), _WIDTH)
    ]
    load = ["prebuilt(", "    __name__,", *lines, ")"]
    return "\n".join([*head, "", *slicer.imports(), "", "", body, "", "", *load, ""])


class _Slicer:
    """Copies statements, each after those that it needs."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.imported: dict[str, set[str]] = {}
        self.texts: list[str] = []
        self._sources: dict[str, _Source] = {}
        self._taken: dict[str, tuple[str, str]] = {}

    def place_of(self, declared: MapDecl | GlobalDecl) -> _Place:
        """The module and the name that hold a declaration."""
        for module in (self.module, *list(sys.modules.values())):
            for name, value in list(getattr(module, "__dict__", {}).items()):
                if value is declared:
                    return _Place(module, name)
        raise SpecError(
            f"{declared.name!r} stands in no module: a skeleton needs it at the top level"
        )

    def need(self, place: _Place) -> None:
        """Copy what defines a name, after what that needs."""
        origin = self._origin(place)
        known = self._taken.setdefault(place.name, origin)
        if known is not origin:
            if known != origin:
                raise SpecError(
                    f"two modules define {place.name!r}: give one of them another name"
                )
            return
        statement = self._statement(place)
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self._import(place, statement)
            return
        self._needs(place.module, statement)
        self.texts.append(self._source(place.module).text(statement))

    def _statement(self, place: _Place) -> ast.stmt:
        source = self._source(place.module)
        statement = source.statements.get(place.name)
        if statement is None:
            raise SpecError(
                f"{place.name!r} is not defined at the top level of {source.name}"
            )
        return statement

    def _origin(self, place: _Place) -> tuple[str, str]:
        """The module that defines a name in the end, and the name there."""
        statement = self._statement(place)
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            return place.module.__name__, place.name
        alias = _alias(statement, place.name)
        module = getattr(statement, "module", None) or ""
        if _is_users(module):
            return self._origin(_Place(sys.modules[module], alias.name))
        return module, alias.name

    def program(self, program: ProgramDecl) -> None:
        """Copy a program's decorators and signature."""
        module = sys.modules[program.function.__module__]
        source = self._source(module)
        definition = source.statements.get(program.function.__name__)
        if not isinstance(definition, ast.FunctionDef):
            raise SpecError(
                f"program {program.name!r} is not defined at the top level of "
                f"{source.name}"
            )
        for part in (*definition.decorator_list, definition.args, definition.returns):
            if part is not None:
                self._needs(module, part)
        head = [f"@{ast.unparse(each)}" for each in definition.decorator_list]
        returns = f" -> {ast.unparse(definition.returns)}" if definition.returns else ""
        shape = f"def {definition.name}({ast.unparse(definition.args)}){returns}:"
        self.texts.append("\n".join([*head, shape, _BODY]))

    def _needs(self, module: ModuleType, node: ast.AST) -> None:
        for name in _names(node):
            if name in vars(module):
                self.need(_Place(module, name))

    def _import(self, place: _Place, statement: ast.Import | ast.ImportFrom) -> None:
        alias = _alias(statement, place.name)
        module = getattr(statement, "module", None) or ""
        if not _is_users(module):
            self.imported.setdefault(module, set()).add(ast.unparse(alias))
            return
        # The other module is the user's own: its statements come along.
        other = _Place(sys.modules[module], alias.name)
        if place.name == alias.name:
            del self._taken[place.name]
            self.need(other)
        else:
            self.need(other)
            self.texts.append(f"{place.name} = {alias.name}")

    def imports(self) -> list[str]:
        """The import statements, by module."""
        lines = []
        for module, names in sorted(self.imported.items()):
            if module:
                listed = [f"    {name}," for name in sorted(names)]
                lines += [f"from {module} import (", *listed, ")"]
            else:
                lines += [f"import {name}" for name in sorted(names)]
        return lines

    def _source(self, module: ModuleType) -> _Source:
        if module.__name__ not in self._sources:
            self._sources[module.__name__] = _Source(module)
        return self._sources[module.__name__]


class _Source:
    """A module's statements, by the names that they define."""

    def __init__(self, module: ModuleType) -> None:
        self.name = module.__name__
        file = getattr(module, "__file__", None)
        if not file or not Path(file).exists():
            raise SpecError(f"the source of module {self.name} cannot be found")
        self._text = Path(file).read_text(encoding="utf-8")
        self.statements: dict[str, ast.stmt] = {}
        for statement in ast.parse(self._text).body:
            for name in _defined(statement):
                self.statements[name] = statement

    def text(self, statement: ast.stmt) -> str:
        """The source of a statement, decorators included."""
        found = ast.get_source_segment(self._text, statement) or ast.unparse(statement)
        decorators = getattr(statement, "decorator_list", [])
        return "\n".join([*(f"@{ast.unparse(each)}" for each in decorators), found])


def _alias(statement: ast.Import | ast.ImportFrom, name: str) -> ast.alias:
    """The part of an import that defines `name`."""
    return next(
        each
        for each in statement.names
        if (each.asname or each.name.partition(".")[0]) == name
    )


def _defined(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [n for target in targets for n in _names(target, stored=True)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Import(names=names):
            return [(alias.asname or alias.name).partition(".")[0] for alias in names]
        case ast.ImportFrom(names=names):
            return [alias.asname or alias.name for alias in names]
        case _:
            return []


def _names(node: ast.AST, *, stored: bool = False) -> list[str]:
    """The names that stand in `node`, those in quoted annotations too; builtins not."""
    found: dict[str, None] = {}
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            found.setdefault(each.id)
        elif isinstance(each, ast.AnnAssign | ast.arg) and isinstance(
            each.annotation, ast.Constant
        ):
            quoted = ast.parse(str(each.annotation.value), mode="eval")
            found.update(dict.fromkeys(_names(quoted)))
    return [name for name in found if stored or not hasattr(builtins, name)]


def _is_users(module: str) -> bool:
    """Whether a module's statements are copied rather than imported."""
    top = module.partition(".")[0]
    found = sys.modules.get(module)
    file = getattr(found, "__file__", None) or ""
    return (
        top not in {"beewire", *sys.stdlib_module_names}
        and "site-packages" not in Path(file).parts
        and bool(file)
    )
