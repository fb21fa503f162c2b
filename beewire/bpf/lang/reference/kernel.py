"""Kernel objects in plain Python: arguments of typed hooks, functions, what exists."""

from collections.abc import Mapping
from typing import Any

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang import source
from beewire.bpf.lang.annotations import Wanted, wanted
from beewire.bpf.lang.builder import Frame
from beewire.bpf.lang.decl import ProgramDecl, Symbol
from beewire.bpf.lang.prototypes import HelperFunction
from beewire.bpf.lang.reference.contexts import KernelObject
from beewire.bpf.lang.reference.numbers import Number
from beewire.bpf.lang.reference.run import Run, by_node
from beewire.bpf.lang.structs import Kernel
from beewire.bpf.lang.symbols import Kfunc
from beewire.bpf.lang.types import I64, U32, U64, IntType
from beewire.errors import BeewireError

_INTEGERS = {"u64": U64, "u32": U32, "i64": I64}


def bound_arguments(
    declared: ProgramDecl, frame: Frame, args: tuple[Any, ...]
) -> dict[str, Any]:
    """The parameters of a program of a typed hook: numbers, and structs as dicts.

    Raises:
        BeewireError: Too many or too few are given, or one of another kind.
    """
    names = [argument.arg for argument in frame.definition.args.args]
    if len(args) != len(names):
        many = f"{len(names)} arguments, not {len(args)}"
        raise BeewireError(f"evaluate() gives {declared.name}() {many}")
    return {
        name: value_of(wanted(frame, name), given, f"{declared.name}({name})")
        for name, given in zip(names, args, strict=True)
    }


def value_of(asked: Wanted | None, given: Any, what: str) -> Any:
    """`given`, a number, a dict or None, as a value of the type that is asked for.

    Raises:
        BeewireError: It is of another kind.
    """
    kind = None if asked is None else asked.type
    if isinstance(kind, IntType) and isinstance(given, int):
        return Number(given).narrowed(kind)
    if isinstance(kind, type) and issubclass(kind, Kernel):
        if isinstance(given, Mapping):
            return KernelObject(kind, given)
        if given is None:
            return None
    if kind is None:
        return None
    raise BeewireError(f"evaluate() cannot give {given!r} for {what}")


def called(run: Run, node: ast.Call, callee: "HelperFunction | Symbol") -> Any:
    """A helper by the kernel's name, or a kernel function: the World answers."""
    name = callee.prototype.name if isinstance(callee, HelperFunction) else callee.name
    values = [run.expr(argument) for argument in node.args]
    if name not in run.world.answers:
        raise BeewireError(
            f"evaluate() does not know what {name}() answers: tell World"
        )
    answer: Any = run.world.answers[name]
    if callable(answer):
        answer = answer(*(getattr(value, "value", value) for value in values))
    if isinstance(callee, HelperFunction):
        kind = _INTEGERS.get(callee.prototype.result)
        return None if kind is None else Number(answer).narrowed(kind)
    assert isinstance(callee, Kfunc)
    frame = Frame(callee.function, *source.find(callee.function))
    return value_of(wanted(frame, "return"), answer, f"the result of {name}()")


@by_node("exists")
def exists(run: Run, node: ast.Call) -> Number:
    """`exists(task.field)`: whether it was given; anything else as the World answers."""
    [asked] = node.args
    if isinstance(asked, ast.Attribute):
        owner = run.expr(asked.value)
        if isinstance(owner, KernelObject):
            return Number(int(asked.attr in owner.fields))
    answer: Any = run.world.answers.get(f"exists({ast.unparse(asked)})", 1)
    return Number(int(answer))
