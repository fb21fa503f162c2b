"""How often a loop may run, and what becomes of one that the kernel shall not follow.

The kernel follows a loop round by round, unless it counts the rounds itself while the
program runs. Small loops are left to the first way: it knows more, such as the counter's
value in each round. All others spend a budget at the end of every round. A program whose
budget is used up gives back what it holds and returns what its hook takes as neutral.
"""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.ranges import highest
from beewire.bpf.lang.values import Int, Literal
from beewire.bpf.lang.variables import static_object
from beewire.reasons import Reason

# Rounds that the kernel follows, those of loops around a loop included. Sixty-four took
# it at most 12,000 instructions (10 ms) where 256 took 150,000; it gives up at a million.
FOLLOWED = 64
MAX_ROUNDS = 1 << 23  # BPF_MAX_LOOPS


def count(
    b: Builder, node: ast.Call, start: Int | Literal, stop: Int | Literal, step: int
) -> int:
    """How many rounds `for` over this range has at most.

    Raises:
        Refused: No kernel runs that many.
    """
    last = node.args[1] if len(node.args) > 1 else node.args[0] if node.args else None
    if step > 0:
        span = min(_highest(stop), _least_of(b, last)) - _lowest(start)
    else:
        span = _highest(start) - _lowest(stop)
    rounds = max(0, -(-span // abs(step)))
    exact = isinstance(start, Literal) and isinstance(stop, Literal)
    if exact and rounds > MAX_ROUNDS:
        raise b.refuse(
            node,
            Reason.UNBOUNDED,
            f"this loop runs {rounds} times; the kernel ends one after {MAX_ROUNDS}",
            "let it run less often",
        )
    return rounds


def is_followed(b: Builder, rounds: int) -> bool:
    """Whether to let the kernel follow a loop of so many rounds."""
    return b.rounds * rounds <= FOLLOWED


def hidden(b: Builder, value: ir.Op) -> ir.Op:
    """`value`, which the kernel does not see through.

    Where both ends of a range are constants it knows how every comparison ends, and would
    follow all rounds in spite of the budget. It does not know what an atomic operation
    leaves behind.
    """
    slot = b.temporary("start", 8)
    b.emit(ir.Store(slot, 0, 8, value, space=ir.Space.STACK))
    b.emit(ir.Atomic(ir.AtomicOp.ADD, slot, 0, 8, ir.Const(0)))
    return b.emit(ir.Load(slot, 0, 8, space=ir.Space.STACK))


def spend(b: Builder, rounds: int | None) -> None:
    """The end of a round that may not be the last; `rounds` is what bounds them."""
    if not b.live:
        return
    more, spent = b.target("more"), b.target("spent")
    b.branch(ir.CmpOp.NE, b.emit(ir.Budget(rounds)), ir.Const(0), more, spent)
    b.start(spent)
    from beewire.bpf.lang.exits import bail  # noqa: PLC0415 - few loops are counted

    bail(b)
    b.start(more)


def _highest(value: Int | Literal) -> int:
    """The largest value that an integer may have, as its operation shows."""
    if isinstance(value, Literal):
        return value.value
    high = value.type.high
    match value.op:
        case ir.Binary(op=ir.BinOp.UMOD, args=[_, ir.Const(value=by)]) if by > 0:
            return min(high, by - 1)
        case _:
            return min(high, highest(value.op, high))


def _lowest(value: Int | Literal) -> int:
    return value.value if isinstance(value, Literal) else value.type.low


def _least_of(b: Builder, node: ast.expr | None) -> int:
    """The least constant among the arguments of min(), where `node` is a call of it."""
    limit = 1 << 64
    if isinstance(node, ast.Call) and static_object(b, node.func) is min:
        for argument in node.args:
            known = (
                argument.value
                if isinstance(argument, ast.Constant)
                else static_object(b, argument)
            )
            if isinstance(known, int):
                limit = min(limit, known)
    return limit
