"""Statements: assignments, branches, loops, match, with, return."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.concurrency import lock, rcu
from beewire.bpf.lang.decl import MapDecl, PerCpuDecl, Ring
from beewire.bpf.lang.ints import join
from beewire.bpf.lang.operators import SYMBOLS
from beewire.bpf.lang.reference.contexts import ContextFields, Word, Words
from beewire.bpf.lang.reference.maps import reserved, settle
from beewire.bpf.lang.reference.numbers import Number, calculate
from beewire.bpf.lang.reference.places import (
    Place,
    element,
    encoded,
    field,
    load,
    loaded_all,
    new,
    store,
)
from beewire.bpf.lang.reference.run import (
    Break,
    Continue,
    Leave,
    Run,
    own_variable,
    statement,
)
from beewire.bpf.lang.reference.sequences import held, items_of, present, slice_of
from beewire.bpf.lang.types import I64, IntType
from beewire.errors import BeewireError


@statement(ast.Pass)
def pass_(_: Run, __: ast.Pass) -> None:
    """`pass`."""


@statement(ast.Expr)
def expression(run: Run, node: ast.Expr) -> None:
    """A call for its effect; a docstring."""
    if not isinstance(node.value, ast.Constant):
        run.expr(node.value)


@statement(ast.Assign)
def assign(run: Run, node: ast.Assign) -> None:
    """`a = b`, `a.b = c`, `table[key] = c`, `a, b = c, d`."""
    value = run.expr(node.value)
    for target in node.targets:
        is_name = isinstance(target, ast.Name)
        assign_to(run, target, held(node.value, value) if is_name else value)


def assign_to(run: Run, target: ast.expr, value: Any) -> None:
    """Assign a value to what `target` names."""
    if isinstance(target, ast.Tuple | ast.List):
        # Read before any of them is written.
        kept = [_snapshot(item) for item in value]
        for part, item in zip(target.elts, kept, strict=True):
            assign_to(run, part, item)
    elif isinstance(target, ast.Name):
        run.assign(target.id, value)
    elif (entry := _entry(run, target)) is not None:
        table, key = entry
        value_type = run.world.map(table).value
        run.world.map(table).update(key, encoded(value, value_type))
    else:
        _put(place_of(run, target), value)


def _snapshot(value: Any) -> Any:
    if isinstance(value, Place) and not isinstance(value.type, IntType):
        kept = new(value.type)
        kept.put(value.raw())
        return kept
    return value


def _entry(run: Run, target: ast.expr) -> tuple[MapDecl, bytes] | None:
    """The map and the key of `table[key]`; None for all else."""
    if not isinstance(target, ast.Subscript):
        return None
    table = run.expr(target.value)
    if not isinstance(table, MapDecl):
        return None
    return table, encoded(run.expr(target.slice), run.world.map(table).key)


def place_of(run: Run, target: ast.expr) -> Place | Word | Words:
    """What `a.b` or `a[i]` names."""
    if isinstance(target, ast.Attribute):
        base = run.expr(target.value)
        if isinstance(base, PerCpuDecl):
            return own_variable(run, base)
        is_context = isinstance(base, ContextFields)
        return base.word(target.attr) if is_context else field(base, target.attr)
    if isinstance(target, ast.Subscript):
        base = run.expr(target.value)
        if isinstance(target.slice, ast.Slice):
            return slice_of(run, base, target.slice)
        index = run.number(target.slice).value
        return base.word(index) if isinstance(base, Words) else element(base, index)
    raise BeewireError(f"evaluate() assigns no {ast.unparse(target)}")


def _put(place: Place | Word | Words, value: Any) -> None:
    if isinstance(place, Place):
        store(place, value)
    elif isinstance(place, Word):
        place.write(value)
    else:
        numbers = value if isinstance(value, tuple) else loaded_all(value)
        for index, number in enumerate(numbers):
            place.word(index).write(number)


@statement(ast.AnnAssign)
def annotated(run: Run, node: ast.AnnAssign) -> None:
    """`x: u32 = a`."""
    if node.value is not None:
        assign_to(run, node.target, held(node.value, run.expr(node.value)))


@statement(ast.AugAssign)
def augmented(run: Run, node: ast.AugAssign) -> None:
    """`a += b`; where others may write `a` too, what it holds is read last."""
    symbol = SYMBOLS[type(node.op)]
    if isinstance(node.target, ast.Name):
        old = run.number(ast.Name(node.target.id, ast.Load()))
        run.assign(node.target.id, calculate(symbol, old, run.number(node.value)))
        return
    if (entry := _entry(run, node.target)) is not None:
        _add_to_entry(run, *entry, run.number(node.value))
        return
    place = place_of(run, node.target)
    assert not isinstance(place, Words)
    if isinstance(place, Place) and place.shared:
        amount = run.number(node.value)
        store(place, _in_bits(symbol, load(place), amount))
    else:
        before = place.read() if isinstance(place, Word) else load(place)
        _put(place, calculate(symbol, before, run.number(node.value)))


def _in_bits(symbol: str, old: Number, amount: Number) -> Number:
    """What an atomic operation does: to bits, whatever their sign."""
    return calculate(
        symbol, Number(old.value, I64), Number(I64.wrap(amount.value), I64)
    )


def _add_to_entry(run: Run, table: MapDecl, key: bytes, amount: Number) -> None:
    held = run.world.map(table)
    if held.lookup(key) is None and not held.is_array:
        first = new(held.value)
        store(first, amount)
        held.update(key, first.raw())
    elif (memory := held.lookup(key)) is not None:
        place = Place(memory, 0, held.value)
        store(place, _in_bits("+", load(place), amount))


@statement(ast.Delete)
def delete(run: Run, node: ast.Delete) -> None:
    """`del table[key]`."""
    for target in node.targets:
        entry = _entry(run, target)
        assert entry is not None
        run.world.map(entry[0]).delete(entry[1])


@statement(ast.If)
def if_(run: Run, node: ast.If) -> None:
    """`if`, `elif`, `else`."""
    run.body(node.body if run.test(node.test) else node.orelse)


@statement(ast.While)
def while_(run: Run, node: ast.While) -> None:
    """`while`, with `else` for when no `break` ended it."""
    while run.test(node.test):
        run.round()
        try:
            run.body(node.body)
        except Break:
            return
        except Continue:
            continue
    run.body(node.orelse)


@statement(ast.For)
def for_(run: Run, node: ast.For) -> None:
    """`for i in range(...)`, `for x in array`."""
    for item in _items(run, node.iter):
        run.round()
        assign_to(run, node.target, present(item))
        try:
            run.body(node.body)
        except Break:
            return
        except Continue:
            continue
    run.body(node.orelse)


def _items(run: Run, node: ast.expr) -> Iterable[Any]:
    if not isinstance(node, ast.Call) or run.expr(node.func) is not range:
        return items_of(run, run.expr(node))
    bounds = [run.number(argument) for argument in node.args]
    kind = _range_type(bounds)
    return (Number(value, kind) for value in range(*(n.value for n in bounds)))


def _range_type(bounds: list[Number]) -> IntType:
    if len(bounds) == 3 and bounds[2].value < 0:
        return I64
    operands = [number.operand for number in bounds[:2]]
    return join(operands[0], operands[-1])


@statement(ast.Match)
def match(run: Run, node: ast.Match) -> None:
    """`match` of an integer; the first case that fits is run."""
    subject = run.number(node.subject)
    for case in node.cases:
        if not _fits(run, case.pattern, subject):
            continue
        if case.guard is None or run.test(case.guard):
            run.body(case.body)
            return


def _fits(run: Run, pattern: ast.pattern, subject: Number) -> bool:
    match pattern:
        case ast.MatchValue():
            return run.number(pattern.value).value == subject.value
        case ast.MatchSingleton():
            return subject.value == pattern.value
        case ast.MatchOr():
            return any(_fits(run, part, subject) for part in pattern.patterns)
        case ast.MatchAs():
            fits = pattern.pattern is None or _fits(run, pattern.pattern, subject)
            if fits and pattern.name is not None:
                run.assign(pattern.name, subject)
            return fits
        case _:
            raise BeewireError(f"evaluate() knows no {type(pattern).__name__}")


@statement(ast.With)
def with_(run: Run, node: ast.With) -> None:
    """`with events.reserve() as e:`; the record is gone when the block is left early."""
    _with(run, node.items, node.body)


def _with(run: Run, items: list[ast.withitem], body: list[ast.stmt]) -> None:
    if not items:
        run.body(body)
        return
    first, *rest = items
    with _held(run, first.context_expr) as held:
        if isinstance(first.optional_vars, ast.Name):
            run.assign(first.optional_vars.id, held)
        _with(run, rest, body)


@contextmanager
def _held(run: Run, node: ast.expr) -> Iterator[Any]:
    owner = None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if run.expr(node.func) not in {lock, rcu}:
            raise BeewireError(f"evaluate() knows no 'with {ast.unparse(node)}'")
        # Nothing else runs here.
        yield None
        return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner = run.expr(node.func.value)
    if not isinstance(owner, Ring):
        raise BeewireError(f"evaluate() knows no 'with {ast.unparse(node)}'")
    record = reserved(run, owner)
    try:
        yield record
    except (Leave, Break, Continue):
        settle(run, owner, record, is_sent=False)
        raise
    settle(run, owner, record, is_sent=True)


@statement(ast.Return)
def return_(run: Run, node: ast.Return) -> None:
    """`return`."""
    raise Leave(None if node.value is None else run.expr(node.value))


@statement(ast.Break)
def break_(_: Run, __: ast.Break) -> None:
    """`break`."""
    raise Break


@statement(ast.Continue)
def continue_(_: Run, __: ast.Continue) -> None:
    """`continue`."""
    raise Continue
