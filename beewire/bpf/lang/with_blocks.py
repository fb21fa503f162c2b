"""`with`: what its head acquires is given back on every way out of the block."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.builder import Builder, compiles
from beewire.bpf.lang.calls import BUILTINS
from beewire.bpf.lang.decl import Symbol
from beewire.bpf.lang.flow import Variable
from beewire.bpf.lang.values import Pointer, Reference
from beewire.bpf.lang.variables import assign, find, static_object
from beewire.hints import Callable, FunctionType
from beewire.reasons import Reason

Cleanup = Callable[[], None]

# The functions that head blocks without a reference. What begins such a block says how
# it is left; another function is called after it.
_HEADS = ("lock", "rcu")
Manager = tuple[Callable[[Builder, ast.Call], Cleanup], Callable[[Builder], None]]


@compiles(ast.With)
def with_(b: Builder, node: ast.With) -> None:
    """`with events.reserve() as e:`, `with lock(value):`."""
    _with(b, node.items, node.body)


def _with(b: Builder, items: list[ast.withitem], body: list[ast.stmt]) -> None:
    if not items:
        b.statements(body)
        return
    item, *rest = items
    manager = _manager(b, item.context_expr)
    if manager is None:
        _with_reference(b, item, rest, body)
        return
    assert isinstance(item.context_expr, ast.Call)
    if item.optional_vars is not None:
        raise b.refuse(
            item.optional_vars,
            Reason.WITH,
            "there is nothing to name here",
            "leave it out",
        )
    begin, after = manager
    end = begin(b, item.context_expr)
    b.frame.cleanups.append(end)
    try:
        _with(b, rest, body)
        if b.live:
            end()
    finally:
        b.frame.cleanups.pop()
        after(b)


def _manager(b: Builder, node: ast.expr) -> Manager | None:
    if not isinstance(node, ast.Call):
        return None
    found = static_object(b, node.func)
    name = BUILTINS.get(found, "") if isinstance(found, FunctionType) else ""
    if name not in _HEADS:
        return None
    from beewire.bpf.lang.critical import MANAGERS  # noqa: PLC0415 - few have any

    return MANAGERS[name]


def _with_reference(
    b: Builder, item: ast.withitem, rest: list[ast.withitem], body: list[ast.stmt]
) -> None:
    call = item.context_expr
    hint = "with events.reserve() as e:, with socks.lookup(key) as sk:"
    if not isinstance(call, ast.Call) or not _may_acquire(b, call):
        raise b.refuse(
            call, Reason.WITH, "'with' takes a reservation or a socket", hint
        )
    b.managed = call
    value = b.expr(call)
    b.managed = None
    if not isinstance(value, Pointer) or not (value.owns and value.fresh):
        raise b.refuse(
            call, Reason.WITH, "'with' takes a reservation or a socket", hint
        )
    if not isinstance(item.optional_vars, ast.Name):
        raise b.refuse(
            call, Reason.WITH, "'with' needs one name here", "with ... as e:"
        )
    assign(b, item.optional_vars.id, value)
    variable = find(b.frame, item.optional_vars.id)
    assert variable is not None
    [reference] = value.references
    frame = b.frame
    variable.fixed = True
    frame.cleanups.append(lambda: _release(b, variable, reference, reference.abandon))
    try:
        _body(
            b,
            rest,
            body,
            lambda: _release(b, variable, reference, reference.give_back),
        )
    finally:
        frame.cleanups.pop()
        variable.fixed = False
    variable.gone = f"{variable.name!r} is gone: its 'with' block has ended"
    b.flow = b.flow.drop(variable)
    # Another block may use the name for something else.
    variable.template = variable.local = None


def _may_acquire(b: Builder, node: ast.Call) -> bool:
    found = static_object(b, node.func)
    return found is None or isinstance(found, FunctionType | Symbol)


def _release(
    b: Builder,
    variable: Variable,
    reference: Reference,
    call: Callable[[ir.Op], object],
) -> None:
    if reference not in b.flow.held:
        return
    if reference in b.flow.released:
        b.lose(reference, "on one of the ways through its 'with' block")
        return
    assert variable.local is not None
    if variable in b.flow.sure:
        call(b.emit(ir.GetLocal(variable.local)))
    else:
        some, done = b.target("held"), b.target("released")
        there = b.emit(ir.GetLocal(variable.flag or variable.local))
        b.branch(ir.CmpOp.EQ, there, ir.Const(0), done, some)
        b.start(some)
        call(b.emit(ir.GetLocal(variable.local)))
        b.jump(done)
        b.start(done)
    reference.by = "its 'with' block"
    b.flow = b.flow.release(frozenset({reference}))


def _body(
    b: Builder, rest: list[ast.withitem], body: list[ast.stmt], release: Cleanup
) -> None:
    """The block, and the release at its end.

    A block that ends in an `if` releases on both of its ways: whether the reference is
    there is known on each of them, and need not be tested again.
    """
    last = body[-1]
    if rest or not isinstance(last, ast.If) or last.orelse:
        _with(b, rest, body)
        if b.live:
            release()
        return
    b.statements(body[:-1])
    then, skipped, done = b.target("then"), b.target("skipped"), b.target("endwith")
    b.condition(last.test, then, skipped)
    for target, statements in ((then, last.body), (skipped, [])):
        b.start(target)
        b.statements(statements)
        if b.live:
            release()
        b.jump(done)
    b.start(done)
