"""Calls: structs, conversions, Python's own functions, helpers, and plain functions."""

from types import FunctionType
from typing import Any

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang import source
from beewire.bpf.lang.builder import Frame
from beewire.bpf.lang.calls import BUILTINS, HELPERS
from beewire.bpf.lang.decl import MapDecl, Symbol
from beewire.bpf.lang.prototypes import HelperFunction
from beewire.bpf.lang.reference import kernel
from beewire.bpf.lang.reference.contexts import ContextFields, KernelObject
from beewire.bpf.lang.reference.numbers import Number, in_order, truth
from beewire.bpf.lang.reference.places import Place, copy_fields, made
from beewire.bpf.lang.reference.run import (
    ANSWERS,
    BY_NODE,
    METHODS,
    Run,
    answers,
    expression,
    perform,
    seen,
)
from beewire.bpf.lang.reference.sequences import make
from beewire.bpf.lang.structs import Composite
from beewire.bpf.lang.types import (
    U16,
    U32,
    U64,
    ArrayType,
    CharsType,
    IntType,
    Network32,
    array,
    chars,
    find_value_type,
    is_enum,
    network_type,
    swap,
)
from beewire.errors import BeewireError


@expression(ast.Call)
def call(run: Run, node: ast.Call) -> Any:
    """`f(...)` and `value.operation(...)`."""
    if isinstance(node.func, ast.Attribute):
        owner = run.expr(node.func.value)
        if isinstance(owner, MapDecl | Place | ContextFields):
            return _operation(run, owner, node.func.attr, node)
    callee = run.expr(node.func)
    if isinstance(callee, HelperFunction | Symbol):
        return kernel.called(run, node, callee)
    if isinstance(callee, type) and issubclass(callee, Composite):
        return _constructor(run, callee, node)
    if callee is array or callee is chars:
        return make(run, node, text=callee is chars)
    if isinstance(callee, FunctionType) and callee not in BUILTINS | HELPERS.keys():
        return _function(run, node, callee)
    if isinstance(callee, FunctionType) and BUILTINS.get(callee) in BY_NODE:
        return BY_NODE[BUILTINS[callee]](run, node)
    values = [run.expr(argument) for argument in node.args]
    if isinstance(callee, FunctionType):
        return _helper(run, callee, values)
    return _python(run, node, callee, values)


def _operation(run: Run, owner: Any, name: str, node: ast.Call) -> Any:
    if isinstance(owner, Place) and name == "copy":
        return copy_fields(owner)
    for kind, known, function in METHODS:
        if known == name and isinstance(owner, kind):
            return function(run, owner, node)
    raise BeewireError(f"evaluate() knows no {ast.unparse(node)}")


def _constructor(run: Run, cls: type[Composite], node: ast.Call) -> Place:
    given = {
        keyword.arg: run.expr(keyword.value)
        for keyword in node.keywords
        if keyword.arg is not None
    }
    return made(cls.__layout__, given)


def _python(run: Run, node: ast.Call, callee: Any, values: list[Any]) -> Any:
    if callee in {min, max}:
        best = callee(values, key=lambda number: number.value)
        return run.typed(node, best)
    if callee is bool:
        held = values[0]
        return truth(held.value != 0 if isinstance(held, Number) else held is not None)
    if isinstance(callee, type) and is_enum(callee):
        flags = find_value_type(callee)
        assert isinstance(flags, IntType)
        return values[0].narrowed(flags)
    if callee is int:
        return values[0]
    if callee is len:
        return Number(_length(values[0]))
    kind = find_value_type(callee)
    if isinstance(kind, IntType) and kind.is_big_endian:
        return in_order(kind, values[0])
    if isinstance(kind, IntType):
        converted = values[0].narrowed(kind)
        # A literal that is converted is still a literal.
        return converted if values[0].type is not None else Number(converted.value)
    raise BeewireError(f"evaluate() knows no {ast.unparse(node)}")


def _length(value: Any) -> int:
    if isinstance(value, Place) and isinstance(value.type, ArrayType | CharsType):
        return value.type.count
    return len(value)


def _helper(run: Run, callee: FunctionType, values: list[Any]) -> Any:
    name = callee.__name__
    if (known := ANSWERS.get(name)) is not None:
        return known(run, values)
    answer = run.world.answers.get(name)
    if answer is None:
        raise BeewireError(
            f"evaluate() does not know what {name}() answers: tell World"
        )
    if callable(answer):
        answer = answer(*(value.value for value in values))
    kind = HELPERS[callee].result if callee in HELPERS else U32
    return Number(answer).narrowed(kind)


def _to_host(kind: IntType) -> Any:
    def swapped(_: Run, values: list[Any]) -> Number:
        [number] = values
        value = swap(kind.wrap(number.value), kind.bits)
        return Number(value, None if number.type is None else kind)

    return swapped


def _to_network(bits: int) -> Any:
    def swapped(run: Run, values: list[Any]) -> Number:
        [number] = values
        if number.type is not None and number.type.is_big_endian:
            back: Number = _to_host(U64)(run, values)
            return back
        return in_order(network_type(bits, bits), number)

    return swapped


answers("ntohs")(_to_host(U16))
answers("ntohl")(_to_host(U32))
for _name, _bits in (("htons", 16), ("htonl", 32), ("bswap64", 64)):
    answers(_name)(_to_network(_bits))


@answers("sizeof")
def sizeof(_: Run, values: list[Any]) -> Number:
    """`sizeof(T)`."""
    kind = find_value_type(values[0])
    assert kind is not None
    return Number(kind.size)


@answers("ip4")
def ip4(_: Run, values: list[Any]) -> Number:
    """`ip4("10.0.0.1")`: the number whose bytes in memory are the address."""
    raw = bytes(map(int, values[0].split(".")))
    return Number(Network32(int.from_bytes(raw, "little")))


@answers("current")
def current(run: Run, values: list[Any]) -> KernelObject:
    """`current(task_struct)`."""
    return KernelObject(values[0], run.world.kernel)


@answers("printk")
def printk(_: Run, values: list[Any]) -> None:
    """Printing leaves nothing behind."""
    del values


def _function(run: Run, node: ast.Call, callee: FunctionType) -> Any:
    found, definition = source.find(callee)
    frame = Frame(callee, found, definition, run.frame)
    spec = definition.args
    names = [argument.arg for argument in (*spec.posonlyargs, *spec.args)]
    given = dict(zip(names, map(run.expr, node.args), strict=False))
    for keyword in node.keywords:
        assert keyword.arg is not None
        given[keyword.arg] = run.expr(keyword.value)
    defaults = callee.__defaults__ or ()
    by_name = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
    for name, value in (by_name | (callee.__kwdefaults__ or {})).items():
        if name not in given:
            given[name] = seen(run, value)
    return perform(run.facts, frame, run.world, given)
