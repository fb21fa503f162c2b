"""The way in: what is evaluated is compiled first, for its faults and its types."""

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from beewire.bpf import ir
from beewire.bpf.lang import bodies, program, source
from beewire.bpf.lang.annotations import wanted
from beewire.bpf.lang.builder import Builder, Frame
from beewire.bpf.lang.contexts import PacketContext
from beewire.bpf.lang.decl import ProgramDecl
from beewire.bpf.lang.faults import Outline, Retry
from beewire.bpf.lang.reference.contexts import ContextFields, Packet
from beewire.bpf.lang.reference.kernel import bound_arguments
from beewire.bpf.lang.reference.numbers import Number
from beewire.bpf.lang.reference.places import Past
from beewire.bpf.lang.reference.programs import Goto
from beewire.bpf.lang.reference.run import Facts, perform
from beewire.bpf.lang.reference.world import World
from beewire.bpf.lang.types import IntType, swap
from beewire.bpf.lang.unit import Unit
from beewire.bpf.lang.values import Int
from beewire.errors import BeewireError, CompileError

Given = int | bytes | bytearray | Mapping[str, Any]


def evaluate(
    function: ProgramDecl | Callable[..., object],
    *args: Given,
    world: World | None = None,
) -> int:
    """See `beewire.bpf.lang.evaluate`."""
    return prepare(function)(World() if world is None else world, *args)


def prepare(function: ProgramDecl | Callable[..., object]) -> Callable[..., int]:
    """What evaluates `function` for a world and arguments, as often as it is called."""
    if isinstance(function, ProgramDecl):
        return _program(function)
    if not isinstance(function, FunctionType):
        raise BeewireError("evaluate() takes a program or a plain function")
    return _function(function)


def _function(function: FunctionType) -> Callable[..., int]:
    frame, facts = _checked(function)
    names = [argument.arg for argument in frame.definition.args.args]

    def run(world: World, *args: Given) -> int:
        if len(args) != len(names):
            raise BeewireError(
                f"{function.__name__}() takes {len(names)} integers, not {len(args)}"
            )
        given = {
            name: _number(_integer_type(frame, name), _integer(arg))
            for name, arg in zip(names, args, strict=True)
        }
        try:
            result = perform(facts, frame, world, given)
        except Past:
            return 0
        if result is None:
            return 0
        asked = frame.wanted.type
        number = _number(asked, result.value) if isinstance(asked, IntType) else result
        return int(number.value)

    return run


def _number(kind: IntType, number: int) -> Number:
    """A number from or for outside, where a be16 is the number that it stands for."""
    if kind.is_big_endian:
        return Number(swap(number & kind.high, kind.bits))
    return Number(number)


def _integer(given: Given) -> int:
    if not isinstance(given, int):
        raise BeewireError(f"evaluate() gives functions integers, not {given!r}")
    return given


def _program(declared: ProgramDecl) -> Callable[..., int]:
    steps = {declared: _step(declared)}

    def run(world: World, *args: Given) -> int:
        if args and isinstance(args[0], bytes):
            args = (bytearray(args[0]),)  # the next program sees what this one wrote
        world.tail_calls = 0
        now = declared
        while True:
            try:
                return steps[now](world, args)
            except Goto as gone:
                now = gone.program
                if now not in steps:
                    steps[now] = _step(now)
            except Past:
                return now.neutral

    return run


def _step(declared: ProgramDecl) -> Callable[[World, tuple[Given, ...]], int]:
    """What runs one program, until it returns or goes to another."""
    facts = _facts(program.analyse(declared))
    function = declared.function
    assert isinstance(function, FunctionType)
    found, definition = source.find(function)
    frame = Frame(function, found, definition)
    if declared.arguments:
        return _with_arguments(declared, frame, facts)
    [parameter] = definition.args.args
    asked = wanted(frame, parameter.arg)
    cls: Any = declared.context if asked is None else asked.type

    def step(world: World, args: tuple[Given, ...]) -> int:
        given = {parameter.arg: _context(declared, cls, args)}
        result = perform(facts, frame, world, given)
        return declared.neutral if result is None else int(result.value)

    return step


def _with_arguments(
    declared: ProgramDecl, frame: Frame, facts: Facts
) -> Callable[[World, tuple[Given, ...]], int]:
    def step(world: World, args: tuple[Given, ...]) -> int:
        given = bound_arguments(declared, frame, args)
        result = perform(facts, frame, world, given)
        return declared.neutral if result is None else int(result.value)

    return step


def _context(declared: ProgramDecl, cls: Any, args: tuple[Given, ...]) -> ContextFields:
    match args:
        case ():
            return ContextFields(cls, {})
        case (bytes() | bytearray() as packet,) if issubclass(cls, PacketContext):
            # The caller sees in its bytearray what the program wrote.
            memory = packet if isinstance(packet, bytearray) else bytearray(packet)
            return Packet(cls, memory)
        case (Mapping() as fields,):
            return ContextFields(cls, fields)
        case _:
            expects = "its packet, or the fields of its context"
            raise BeewireError(f"evaluate() gives {declared.name}() {expects}")


def _facts(builder: Builder) -> Facts:
    return Facts(builder.variables, builder.types)


def _checked(function: FunctionType) -> tuple[Frame, Facts]:
    """Compile the function for what is wrong with it, and for its variables' types."""
    hints: dict[Any, Any] = {}
    unit = Unit()
    while True:
        try:
            builder = _check(function, hints, unit)
        except Outline as outline:
            unit.outlined.add(outline.function)
        except Retry as retry:
            hints[retry.key] = retry.type
        else:
            return builder.frame, _facts(builder)


def _check(function: FunctionType, hints: dict[Any, Any], unit: Unit) -> Builder:
    found, definition = source.find(function)
    made = ir.Function(function.__name__, (), found.span(definition))
    builder = Builder(made, hints, 0, unit)
    frame = Frame(function, found, definition)
    builder.enter(frame)
    builder.node = definition
    for index, argument in enumerate(definition.args.args):
        kind = _integer_type(frame, argument.arg)
        value = Int(ir.Param(index, argument.arg, ir.Kind.INT), kind)
        bodies.bind_integer(builder, argument.arg, value, kind)
    returned = wanted(frame, "return")
    if returned is None:
        raise BeewireError(f"{function.__name__}() does not say what it returns")
    frame.wanted = returned
    builder.statements(definition.body)
    if builder.diagnostics:
        raise CompileError(program.in_order(builder.diagnostics))
    return builder


def _integer_type(frame: Frame, name: str) -> IntType:
    asked = wanted(frame, name)
    if asked is None or not isinstance(asked.type, IntType):
        raise BeewireError(f"evaluate() needs an integer type for {name!r}")
    return asked.type
