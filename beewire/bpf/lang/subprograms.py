"""Subprograms: functions that are compiled once, and called (BPF to BPF).

    r1 .. r5    the arguments, in the order of the parameters
    r0          what it returns: an integer, or a reference

A struct that it makes, and several values at once, it writes to memory that the caller
gives it as one more argument; and all that it returns, where it may end the program: r0
says then whether it did, and the caller ends as well. What is not in a register (a map, a type, None) is known
when it is compiled: each combination of kinds of arguments has a subprogram of its own.
"""

from beewire.bpf import ir
from beewire.bpf.lang import bodies
from beewire.bpf.lang.annotations import Wanted
from beewire.bpf.lang.bodies import Given
from beewire.bpf.lang.builder import FINISH, Builder, Frame
from beewire.bpf.lang.exits import stopped
from beewire.bpf.lang.faults import Follows, Refused, Rule
from beewire.bpf.lang.ints import literal_type
from beewire.bpf.lang.marks import Mark, mark_of
from beewire.bpf.lang.memory import init_struct, load, store
from beewire.bpf.lang.ownership import check_exit
from beewire.bpf.lang.passing import (
    MAX_ARGUMENTS,
    UNKNOWN,
    Passed,
    pass_value,
    pointer,
    renewed,
)
from beewire.bpf.lang.signatures import describe
from beewire.bpf.lang.types import IntType
from beewire.bpf.lang.unit import Subprogram
from beewire.bpf.lang.values import (
    ContextValue,
    Fields,
    Int,
    Literal,
    Memory,
    Nothing,
    Pointer,
    Record,
    Tuple,
    Value,
)
from beewire.hints import Any
from beewire.reasons import Reason

_CHOSEN = Mark(is_subprogram=True)
_WORD = 8
DYNPTR_DATA = 203


def call(b: Builder, node: Any, frame: Frame, given: list[Given]) -> Value | None:
    """Call the subprogram; None where it has to be compiled in after all.

    Raises:
        Refused: It is marked as a subprogram, and cannot be one.
    """
    mark = mark_of(frame.function) or _CHOSEN
    passed: list[Passed] = []
    for each in given:
        try:
            passed.append(pass_value(b, each, is_global=mark.is_global))
        except Rule as rule:
            if mark is _CHOSEN:
                return None
            message = f"{frame.definition.name}(): {rule.message}"
            raise b.refuse(each.node, rule.code, message, rule.hint) from None
    made = subprogram(b, node, frame, passed, mark)
    if made is None:
        return None
    return _call(b, made, [each.op for each in passed if each.op is not None])


def _call(b: Builder, made: Subprogram, ops: list[ir.Op]) -> Value:
    if made.in_memory:
        memory = b.slot(f"{made.name}()", made.in_memory)
        told = b.emit(ir.Call(ir.CallKind.SUBPROGRAM, made.name, *ops, memory))
        if made.stops:
            stopped(b, told)
        value = _fetched(b, memory, made.result, 0)
        if made.is_global and isinstance(value, Int):
            return _bounded(b, value, value.op)
        return value
    kind = ir.Kind.PTR if isinstance(made.result, Pointer) else ir.Kind.INT
    op = b.emit(ir.Call(ir.CallKind.SUBPROGRAM, made.name, *ops, kind=kind))
    if made.stops:
        stopped(b, op)
    if isinstance(made.result, Nothing):
        return made.result
    if made.is_global:
        # All that the kernel knows of the result is that it is a number.
        return _bounded(b, made.result, op)
    return renewed(made.result, op)


def _bounded(b: Builder, template: Value, op: ir.Op) -> Value:
    """An integer that comes from where the verifier has not looked."""
    if not isinstance(template, Int) or template.type.bits == 64:
        return renewed(template, op)
    kind = template.type
    if kind.is_bool:
        return Int(b.binary(ir.BinOp.AND, op, ir.Const(1)), kind)
    return Int(b.emit(ir.Extend(op, kind.bits, signed=kind.signed)), kind)


def _fetched(b: Builder, memory: ir.Op, template: Value, offset: int) -> Value:
    """What a subprogram left in the caller's memory."""
    if isinstance(template, Tuple):
        items = []
        for item in template.items:
            items.append(_fetched(b, memory, item, offset))
            offset += _room(item)
        return Tuple(tuple(items))
    if isinstance(template, Memory) and template.unnamed:
        stack = ir.Space.STACK
        return Memory(memory, offset, template.type, stack, unnamed=True)
    kind = ir.Kind.PTR if isinstance(template, Pointer) else ir.Kind.INT
    load = ir.Load(memory, offset, _WORD, space=ir.Space.STACK, kind=kind)
    return renewed(template, b.emit(load))


def _room(item: Value) -> int:
    """Bytes for one of several results."""
    if isinstance(item, Memory) and item.unnamed:
        return -(-item.type.size // _WORD) * _WORD
    return _WORD


# Compiling one.


def _inner(b: Builder, frame: Frame) -> Builder:
    """A builder for a subprogram of the same object, called from `b`."""
    place = frame.source.span(frame.definition)
    span = place._replace(end_line=place.line, end_column=place.column)
    function = ir.Function(frame.function.__name__, (), span)
    builder = Builder(function, b.hints, 0, b.unit)
    builder.variables, builder.types = b.variables, b.types
    builder.helpers, builder.program = b.helpers, b.program
    builder.locked = b.locked
    builder.rounds = b.rounds
    builder.node = frame.definition
    builder.enter(frame)
    return builder


def subprogram(
    b: Builder, node: Any, frame: Frame, passed: list[Passed], mark: Mark
) -> Subprogram | None:
    """The subprogram for these kinds of arguments; None where there can be none.

    Raises:
        Follows: It is marked as one, and was refused.
    """
    key = (frame.function, *[each.key for each in passed])
    found = b.unit.found.get(key)
    # Programs of another kind may not call all that it calls: it is refused for them.
    if found is not None and not found.helpers & ~b.helpers:
        return found
    inner = _inner(b, frame)
    inner.chosen = mark is _CHOSEN
    made: Subprogram | None = None
    try:
        made = _compile(inner, node, b.frame, passed, mark)
    except Refused as refused:
        inner.diagnostics.append(refused.diagnostic)
    except Follows:
        pass
    if made is None or inner.diagnostics:
        if mark is _CHOSEN:
            b.unit.inlined.add(frame.function)
            return None
        b.diagnostics += inner.diagnostics
        raise Follows
    made.function.name = b.unit.name(frame.function.__name__)
    describe(made, passed)
    b.unit.found[key] = made
    b.unit.made.append(made)
    return made


def _compile(
    b: Builder, node: Any, caller: Frame, passed: list[Passed], mark: Mark
) -> Subprogram:
    frame, function = b.frame, b.function
    made = Subprogram(frame.function, function, is_global=mark.is_global)
    made.chosen = mark is _CHOSEN
    for each in passed:
        value = each.template
        if each.op is not None:
            param = ir.Param(len(function.params), each.name, each.kind)
            function.params += (param,)
            value = _unboxed(b, each, param) if each.boxed else each.arrived(param)
            if isinstance(value, ContextValue):
                b.context = param
            if mark.is_global:
                value = _bounded(b, value, param)
        if each.asked is None:
            continue
        try:
            bodies.bind(b, each.name, each.asked, _as_asked(b, each.asked, value))
        except Rule as rule:
            raise b.refuse(
                frame.definition, rule.code, rule.message, rule.hint
            ) from None
    value = bodies.compiled(b, node, caller)
    b.node = frame.definition.body[-1]
    check_exit(b, frame.definition.body[-1])
    try:
        _leave(b, made, value, mark)
    except Rule as rule:
        b.frame = frame
        raise b.refuse(frame.definition, rule.code, rule.message, rule.hint) from None
    if b.stops and (mark.returns or b.told is not None):
        for end in b.ends:
            end.args[0] = ir.Const(1)
    _check_count(b, frame, by_end=b.stops and made.in_memory > 0)
    b.finish()
    made.helpers = _helpers(b.function)
    made.chooses = any(
        isinstance(op, ir.Branch)
        or (isinstance(op, ir.Call) and op.call is ir.CallKind.SUBPROGRAM)
        for op in b.function.ops()
    )
    return made


def _unboxed(b: Builder, passed: Passed, box: ir.Op) -> Value:
    """What a callback shares with its caller, behind the word that tells of its end."""
    b.told = box
    if passed.asked is None:
        return passed.template
    load = ir.Load(box, _WORD, _WORD, space=ir.Space.MEM, kind=ir.Kind.PTR)
    return passed.arrived(b.emit(load))


def _helpers(function: ir.Function) -> int:
    found = 0
    for op in function.ops():
        if isinstance(op, ir.Call) and isinstance(op.target, int):
            found |= 1 << op.target
    return found


def _as_asked(b: Builder, asked: Wanted, value: Value) -> Value:
    """An integer, or a record, that does not arrive as such: read first.

    A record that is shorter than its type is None.
    """
    if isinstance(value, Memory) and isinstance(asked.type, IntType):
        return load(b, value)
    if isinstance(value, Record):
        size = ir.Const(value.type.size)
        op = b.call(DYNPTR_DATA, value.op, ir.Const(0), size, kind=ir.Kind.PTR)
        return Memory(op, 0, value.type, ir.Space.MEM, nullable=True)
    return value


def _check_count(b: Builder, frame: Frame, *, by_end: bool) -> None:
    count = len(b.function.params)
    if count > MAX_ARGUMENTS:
        raise b.refuse(
            frame.definition,
            Reason.SUBPROGRAM,
            f"{frame.definition.name}() takes {count} registers of arguments"
            f"{', one for what it returns: it may end the program' if by_end else ''}, "
            f"and a subprogram has {MAX_ARGUMENTS}",
            "put some of them into a Struct, or mark the function @inline",
        )


def _leave(b: Builder, made: Subprogram, value: Value, mark: Mark) -> None:
    """The end of a subprogram: `value` goes to the caller."""
    if made.is_global and not isinstance(value, Int | Literal | Nothing):
        raise Rule(
            Reason.SUBPROGRAM,
            f"a global function cannot return {value.describe()}",
            "it returns an integer, or None; a static one, @subprogram, returns more",
        )
    made.stops = b.stops
    in_memory = isinstance(value, Tuple | Fields) or _is_made(value)
    if b.stops and mark.returns and not isinstance(value, Nothing):
        in_memory = True
    if not in_memory:
        made.result, op = _in_register(b, value)
        b.emit(ir.Return(op))
        return
    param = ir.Param(len(b.function.params), "result", ir.Kind.PTR)
    b.function.params += (param,)
    made.result, made.in_memory = _put(b, param, value, 0)
    b.emit(ir.Return(ir.Const(0)))


def _is_made(value: Value) -> bool:
    return isinstance(value, Memory) and value.on_stack


def _in_register(b: Builder, value: Value) -> tuple[Value, ir.Op]:
    finish = FINISH.get(type(value))
    if finish is not None:
        value = finish(b, value)
    if isinstance(value, Literal):
        return Int(UNKNOWN, literal_type(value.value)), b.op(value)
    if isinstance(value, Int):
        return Int(UNKNOWN, value.type), value.op
    if isinstance(value, Nothing):
        return value, ir.Const(0)
    if isinstance(value, Memory) and value.space is ir.Space.MEM:
        raise Rule(
            Reason.RESULT,
            f"{b.frame.definition.name}() returns a struct that it did not make",
            "return a copy: .copy()",
        )
    if isinstance(value, Pointer):
        if value.references:
            raise Rule(
                Reason.SUBPROGRAM,
                f"a subprogram cannot return {value.describe()} that has to be given back",
                "mark the function @inline",
            )
        template, op = pointer(b, value)
        template.nullable = value.nullable
        return template, op
    raise Rule(
        Reason.SUBPROGRAM,
        f"a subprogram cannot return {value.describe()}",
        "mark the function @inline",
    )


def _put(b: Builder, param: ir.Op, value: Value, offset: int) -> tuple[Value, int]:
    """Write a result to the caller's memory; what it is there, and where it ends."""
    if isinstance(value, Tuple):
        items: list[Value] = []
        for item in value.items:
            template, offset = _put(b, param, item, offset)
            items.append(template)
        return Tuple(tuple(items)), offset
    if isinstance(value, Fields | Memory) and (
        isinstance(value, Fields) or value.on_stack
    ):
        place = Memory(param, offset, value.type, ir.Space.MEM)
        place.lent = True
        if isinstance(value, Fields):
            init_struct(b, place, value)
        else:
            store(b, place, value)
        there = Memory(UNKNOWN, offset, value.type, ir.Space.STACK, unnamed=True)
        return there, offset + _room(there)
    template, op = _in_register(b, value)
    b.emit(ir.Store(param, offset, _WORD, op, space=ir.Space.MEM))
    return template, offset + _WORD
