"""Callbacks: functions that helpers call, each a static subprogram (Linux 5.13).

    op = callback(b, node, (None, key, value))
    b.call(TIMER_SET_CALLBACK, timer, op)

The values say what arrives in r1, r2, ...; None is a register that the callback does not
see. A callback takes what arrives, in that order, and may leave out the last ones.

`called_back` is for helpers that call before they return. Where the callback may end the
program (a loop that is stopped, an index past an array), the caller hands it two words in
the place of the struct that they share: 1 once it did, and the address of the struct.
"""

from beewire.bpf import ir
from beewire.bpf.lang import bodies
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.annotations import wanted
from beewire.bpf.lang.arguments import arguments
from beewire.bpf.lang.attributes import present
from beewire.bpf.lang.builder import Builder, Frame
from beewire.bpf.lang.exits import stopped
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.marks import Mark
from beewire.bpf.lang.passing import UNKNOWN, Passed, facts
from beewire.bpf.lang.rounds import hidden
from beewire.bpf.lang.structs import StructType
from beewire.bpf.lang.subprograms import subprogram
from beewire.bpf.lang.types import BOOL, I64, U64, ArrayType, IntType
from beewire.bpf.lang.unit import Subprogram
from beewire.bpf.lang.values import Int, Memory, Pointer, Static, Value
from beewire.bpf.lang.words import pieces
from beewire.hints import Callable, FunctionType, Sequence
from beewire.reasons import Reason
from beewire.rows import Row

LOOP = 181
# Elements of arrays that are looked at one by one; longer ones are gone through.
_SHORT = 8
_CALLBACK = Mark(is_subprogram=True, returns=False)


class Own(Row):
    """A struct that a callback is given: its address, and what the callback sees."""

    op: ir.Op
    template: Memory


def callback(
    b: Builder,
    node: ast.expr,
    arriving: Sequence[Value | None],
    *,
    may_stop: bool = False,
) -> ir.Op:
    """The address of the function that `node` names, as a helper takes it.

    With `may_stop` it may be `-> bool`: 1, for True, ends what calls it. All others
    return None, which is 0.

    Raises:
        Refused: It is no function, or not one that can be called so.
        Follows: Its body was refused.
    """
    frame = _frame(b, node, may_stop=may_stop)
    made = _made(b, node, frame, _arriving(b, node, frame, arriving))
    return ir.FunctionRef(made.name)


def called_back(
    b: Builder,
    node: ast.expr,
    shared: ast.expr | None,
    arriving: Sequence[Value | None],
    invoke: Callable[[ir.Op, ir.Op], ir.Op],
) -> Value:
    """What a helper returns that calls the function that `node` names, maybe `-> bool`.

    `invoke` calls the helper, given the function and the address of what both sides share.

    Raises:
        Refused: It is no function, or not one that can be called so.
        Follows: Its body was refused.
    """
    own = None if shared is None else own_struct(b, shared)
    op = ir.Const(0) if own is None else own.op
    frame = _frame(b, node, may_stop=True)
    seen = [*arriving, None if own is None else own.template]
    passed = _arriving(b, node, frame, seen)
    made = _made(b, node, frame, passed)
    if own is not None and made.chooses:
        _veil(b, own)
    if not made.stops:
        return Int(invoke(ir.FunctionRef(made.name), op), I64)
    if made in b.unit.made:  # it stays in `found`, to tell the next caller
        b.unit.made.remove(made)
    last = passed.pop()
    passed.append(last._replace(boxed=True, key=(*last.key, "boxed")))
    made = _made(b, node, _frame(b, node, may_stop=True), passed)
    box = b.slot("callback", 16)
    b.emit(ir.Store(box, 0, 8, ir.Const(0), space=ir.Space.STACK))
    b.emit(ir.Store(box, 8, 8, op, space=ir.Space.STACK))
    called = invoke(ir.FunctionRef(made.name), box)
    stopped(b, b.emit(ir.Load(box, 0, 8, space=ir.Space.STACK)))
    return Int(called, I64)


def _veil(b: Builder, own: Own) -> None:
    """Let the kernel not know what numbers a struct holds.

    It follows a callback until it has seen its state before. Of a number that the callback
    changes and compares it would see another value in each round, until it gives up. The
    states have to be of one form, too: each number is stored as the callback stores it,
    the first one of a word last.
    """
    zero = hidden(b, ir.Const(0))
    for at, size in sorted(set(_numbers(own.template)), reverse=True):
        number = b.emit(ir.Load(own.op, at, size, space=ir.Space.MEM))
        unknown = b.binary(ir.BinOp.OR, number, zero)
        b.emit(ir.Store(own.op, at, size, unknown, space=ir.Space.MEM))


def _numbers(place: Memory) -> list[tuple[int, int]]:
    """Offset and size of what integers are read by; but for those of long arrays."""
    kind = place.type
    match kind:
        case IntType():
            return [(place.offset + at, size) for at, size in pieces(place, kind.size)]
        case StructType():
            parts = [(field.offset, field.type) for field in kind.fields.values()]
        case ArrayType() if kind.count <= _SHORT:
            parts = [(i * kind.element.size, kind.element) for i in range(kind.count)]
        case _:
            return []
    return [each for at, type_ in parts for each in _numbers(place.part(at, type_))]


def _made(b: Builder, node: ast.expr, frame: Frame, passed: list[Passed]) -> Subprogram:
    made = subprogram(b, node, frame, passed, _CALLBACK)
    assert made is not None  # only the compiler's own choices may come to nothing
    return made


def _frame(b: Builder, node: ast.expr, *, may_stop: bool) -> Frame:
    """A frame for the function that `node` names, which returns what a callback may."""
    found = b.expr(node)
    function = found.obj if isinstance(found, Static) else None
    if not isinstance(function, FunctionType):
        raise b.refuse(
            node,
            Reason.CALLBACK,
            f"a function is needed here, not {found.describe()}",
            "name a plain function of the module",
        )
    frame = bodies.frame_of(b, node, function)
    stops = may_stop and frame.wanted.type is BOOL
    if not frame.wanted.is_none and not stops:
        returns = "-> None, or -> bool where True ends it" if may_stop else "-> None"
        raise b.refuse(
            node,
            Reason.CALLBACK,
            f"{function.__name__}() is called back: what it returns has no meaning",
            f"annotate it {returns}",
        )
    return frame


def _arriving(
    b: Builder, node: ast.expr, frame: Frame, arriving: Sequence[Value | None]
) -> list[Passed]:
    spec = frame.definition.args
    names = [arg.arg for arg in (*spec.posonlyargs, *spec.args)]
    seen = [value for value in arriving if value is not None]
    if len(names) > len(seen) or spec.kwonlyargs:
        kinds = ", ".join([value.describe() for value in seen]) or "nothing"
        raise b.refuse(
            node,
            Reason.CALLBACK,
            f"{frame.function.__name__}() is called back with {len(seen)} arguments, "
            f"and takes {len(names) + len(spec.kwonlyargs)}",
            f"it is given {kinds}",
        )
    passed: list[Passed] = []
    waiting = iter(names)
    for index, value in enumerate(arriving):
        name = None if value is None else next(waiting, None)
        if value is None or name is None:
            unseen = Int(UNKNOWN, U64)
            passed.append(Passed(f"arg{index}", None, unseen, UNKNOWN, ("unseen",)))
            continue
        try:
            asked = bodies.asked_of(frame, name, _read(frame, name, value))
        except Rule as rule:
            message = f"{frame.function.__name__}(): {rule.message}"
            raise b.refuse(node, rule.code, message, rule.hint) from None
        key = facts(value) if isinstance(value, Pointer) else (value.describe(),)
        passed.append(Passed(name, asked, value, UNKNOWN, (name, *key)))
    return passed


def _read(frame: Frame, name: str, value: Value) -> Value:
    """What a parameter takes where an integer arrives in memory: a key, say."""
    if isinstance(value, Memory) and isinstance(value.type, IntType):
        asked = wanted(frame, name)
        if asked is not None and isinstance(asked.type, IntType):
            return Int(UNKNOWN, value.type)
    return value


def own_struct(b: Builder, node: ast.expr) -> Own:
    """The struct on the stack that a callback shares with who calls the helper.

    Raises:
        Refused: It is no struct, or lies elsewhere.
    """
    value = b.expr(node)
    if isinstance(value, Pointer):
        present(b, value, node)
    if not isinstance(value, Memory) or not isinstance(value.type, StructType):
        raise b.refuse(
            node,
            Reason.CALLBACK,
            f"a callback shares a Struct with its caller, not {value.describe()}",
            "put what it needs into a Struct",
        )
    if not value.on_stack and value.space is not ir.Space.MEM:
        raise b.refuse(
            node,
            Reason.CALLBACK,
            "a callback shares a struct on the stack with its caller; this is elsewhere",
            "take a copy: .copy()",
        )
    return Own(b.address(value), value.lent_at(UNKNOWN))


def loop(b: Builder, node: ast.Call) -> Value:
    """`loop(count, body, ctx)`."""
    count, body, shared = arguments(b, node, ("count", "body", "ctx"), 2)
    assert count is not None
    assert body is not None
    times = b.op(b.integer(count))
    return called_back(
        b,
        body,
        shared,
        [Int(UNKNOWN, U64)],
        lambda function, own: b.call(LOOP, times, function, own, ir.Const(0)),
    )
