"""References that must be given back: sockets, reservations, objects of the kernel.

    with socks.lookup(key) as sk:       # given back on every way out of the block
        ...
    sk = sk_lookup_tcp(ctx, addresses)  # given back by sk_release(sk)

The kernel refuses a program that keeps a reference on any of its ways, or uses one that
it gave back. The Flow knows on every way which are held, and which variables have them:
here is what acquires and releases, and what is said where the two do not meet.
"""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.flow import Variable
from beewire.bpf.lang.values import NO_REFERENCES, Pointer, Reference, Socket
from beewire.hints import Callable, Sequence, TypeVar
from beewire.reasons import Reason

P = TypeVar("P", bound=Pointer)

SK_RELEASE = 86


def acquire(b: Builder, value: P, reference: Reference) -> P:
    """`value` as one that has to be given back: the present expression made it."""
    reference.place = (b.frame, b.node)
    value.references = frozenset({reference})
    value.owns = value.fresh = True
    b.flow = b.flow.acquire(reference)
    return value


def acquire_socket(b: Builder, op: ir.Op) -> Socket:
    """The socket that a lookup found."""
    reference = Reference(
        "the socket",
        "give it back on every way by sk_release(sk), or write: with ... as sk:",
        lambda held: b.call(SK_RELEASE, held),
    )
    return acquire(b, Socket(op, nullable=True), reference)


def lean(value: P, on: Pointer) -> P:
    """`value` as one that is good as long as `on` is."""
    value.references = on.references
    return value


def give_back(b: Builder, value: Pointer, node: ast.expr, by: str) -> None:
    """`value`, that of `node`, is gone: the call of `by` took it.

    Raises:
        Refused: The program does not own it.
    """
    if not value.owns:
        what = ast.unparse(node)
        message = f"{what!r} is not the program's to give back"
        raise b.refuse(
            node, Reason.BORROWED, message, f"{by} takes what a lookup returned"
        )
    for reference in value.references:
        reference.by = by
    b.flow = b.flow.release(value.references)


def transfer(b: Builder, value: P) -> P:
    """`value` as one that no variable has any more: a function returned it."""
    if value.owns:
        b.flow = b.flow.unlink(value.references)
        value.fresh = True
    return value


def linked(b: Builder, variable: Variable, value: Pointer) -> None:
    """Let `value`, read from `variable`, have the references that the variable has.

    Raises:
        Rule: They were given back.
    """
    links = [each for each in b.flow.links if each.variable is variable]
    if not links:
        value.references = NO_REFERENCES
        return
    value.references = frozenset([each.reference for each in links])
    value.owns = all(each.owns for each in links)
    check_usable(b, value, variable.name)


def check_usable(b: Builder, value: Pointer, name: str) -> None:
    """Refuse a pointer whose references are not held any more.

    Raises:
        Rule: They were given back.
    """
    for reference in value.references & b.flow.released:
        raise Rule(Reason.GONE, f"{name!r} is gone: {reference.by} gave it back")


def check_assigned(b: Builder, variable: Variable, value: Pointer) -> None:
    """Refuse what would lose a reference, or give one a second name.

    Raises:
        Rule: The assignment of `value` to `variable` does.
    """
    for reference in b.flow.owned_by(variable) & b.flow.held:
        message = f"{variable.name!r} has {reference.what}, which is not given back yet"
        raise Rule(Reason.LEAK, message, reference.advice)
    if value.owns and not value.fresh:
        what = next(iter(value.references)).what
        raise Rule(
            Reason.ALIAS,
            f"{variable.name!r} would be a second name for {what}",
            "use the first name: it is given back once",
        )


def abandon_held(b: Builder) -> None:
    """Give back all that is held: the program ends here, though it says nothing of it."""
    owners = {
        link.variable.name: link
        for link in b.flow.links
        if link.owns and link.reference in b.flow.held
    }
    for _, link in sorted(owners.items()):
        assert link.variable.local is not None
        held = b.emit(ir.GetLocal(link.variable.local))
        some, done = b.target("held"), b.target("released")
        b.branch(ir.CmpOp.EQ, held, ir.Const(0), done, some)
        b.start(some)
        link.reference.abandon(held)
        b.jump(done)
        b.start(done)
        b.flow = b.flow.release(frozenset({link.reference}))


def clean_up(b: Builder, cleanups: Sequence[Callable[[], None]]) -> None:
    """Leave `with` blocks early, the inner ones first; what follows is still inside."""
    held = b.locked, b.in_rcu
    for cleanup in reversed(cleanups):
        cleanup()
    b.locked, b.in_rcu = held


def check_exit(b: Builder, node: ast.stmt | ast.expr) -> None:
    """Refuse to leave the program at `node` with references that are held."""
    if not b.live:
        return
    for reference in b.flow.held:
        line = b.frame.source.span(node).line
        b.lose(reference, f"where the program ends in line {line}")
    if b.flow.held:
        b.flow = b.flow._replace(held=frozenset())
