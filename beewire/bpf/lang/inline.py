"""Calls of plain functions: compiled in where they stand, or calls of a subprogram."""

from beewire.bpf.lang import bodies
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.annotations import Wanted
from beewire.bpf.lang.bodies import Given
from beewire.bpf.lang.builder import CONDITIONS, Builder, Frame
from beewire.bpf.lang.calls import BUILTINS, HELPERS
from beewire.bpf.lang.conditions import truth_of
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.flow import Target
from beewire.bpf.lang.outlining import is_due, note_inlined
from beewire.bpf.lang.types import BOOL
from beewire.bpf.lang.values import Value
from beewire.bpf.lang.variables import static_object
from beewire.hints import FunctionType


def call(b: Builder, node: ast.Call, function: FunctionType) -> Value:
    """Compile a call of `function`."""
    frame = bodies.frame_of(b, node, function)
    given = bodies.given(b, frame, node)
    if is_due(b, frame, given):
        found = _call_subprogram(b, node, frame, given)
        if found is not None:
            return found
    caller, before = b.frame, b.count
    b.enter(frame)
    try:
        _bind(b, given, caller)
        value = bodies.compiled(b, node, caller)
    finally:
        b.frame = caller
    note_inlined(b, function, b.count - before)
    return value


def _call_subprogram(
    b: Builder, node: ast.Call, frame: Frame, given: list[Given]
) -> Value | None:
    from beewire.bpf.lang import subprograms  # noqa: PLC0415 - few programs need it

    return subprograms.call(b, node, frame, given)


def condition(b: Builder, node: ast.Call, then: Target, orelse: Target) -> None:
    """A call that decides: each `return` of a bool goes straight to where it leads."""
    function = _plain_function(b, node)
    frame = bodies.frame_of(b, node, function) if function is not None else None
    if frame is None or frame.wanted != Wanted(BOOL):
        truth_of(b, node, b.expr(node), then, orelse)
        return
    given = bodies.given(b, frame, node)
    if is_due(b, frame, given):
        found = _call_subprogram(b, node, frame, given)
        if found is not None:
            truth_of(b, node, found, then, orelse)
            return
    _decide(b, node, frame, given, (then, orelse))


def _decide(
    b: Builder,
    node: ast.Call,
    frame: Frame,
    given: list[Given],
    ways: tuple[Target, Target],
) -> None:
    caller, before = b.frame, b.count
    b.enter(frame)
    frame.condition = ways
    try:
        _bind(b, given, caller)
        b.statements(frame.definition.body)
        bodies.end(b, node, caller)
    finally:
        b.frame = caller
    note_inlined(b, frame.function, b.count - before)


def _bind(b: Builder, given: list[Given], caller: Frame) -> None:
    for each in given:
        try:
            bodies.bind(b, each.name, each.asked, each.value)
        except Rule as rule:
            called = f"{b.frame.definition.name}(): {rule.message}"
            b.frame = caller
            raise b.refuse(each.node, rule.code, called, rule.hint) from None


def _plain_function(b: Builder, node: ast.Call) -> FunctionType | None:
    """The function that is called, where that is plain to see."""
    found = static_object(b, node.func)
    if not isinstance(found, FunctionType) or found in BUILTINS or found in HELPERS:
        return None
    return found


CONDITIONS[ast.Call] = condition
