"""Counts loops in the unit in which the counter is used.

    %1 = phi i (0, %3)                    %1 = phi i (0, %3)
    %2 = binary shl64 %1, 2               ... %1 ...
    ... %2 ...                     =>     %3 = binary add64 %1, 4
    %3 = binary add64 %1, 1               branch ult64 %3, 64 -> body, done
    branch ult64 %3, 16 -> body, done

Only if the counter serves nothing but that product and comparisons with constants, so
that an array's offsets take the counter's place.
"""

from beewire.bpf.codegen.algebra import constant
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import Binary, BinOp, Branch, CmpOp, Const, Op, Phi

_LIMIT = 1 << 24  # of bounds and factors: their products stay far from any overflow
_TESTS = frozenset((CmpOp.SET, CmpOp.CLEAR))


def scale(work: Work) -> None:
    """Scale the counters of all loops that allow it."""
    blocks = work.function.blocks
    counters = [
        (op, step)
        for block in blocks
        for op in block.ops[:8]
        if isinstance(op, Phi) and (step := _step(op)) is not None
    ]
    if not counters:
        return
    users: dict[Op, list[Op]] = {}
    for op in work.function.ops():
        for arg in op.args:
            users.setdefault(arg, []).append(op)
    renamed: dict[Op, Op] = {}
    for phi, step in counters:
        products = _products(phi, step, users)
        if products:
            _rewrite(phi, step, products, users, renamed)
    if not renamed:
        return
    for block in blocks:
        block.ops = [op for op in block.ops if op not in renamed]
        for op in block.ops:
            op.args = [renamed.get(arg, arg) for arg in op.args]


def _step(phi: Phi) -> Binary | None:
    """What the counter is at the end of a round, if it starts and grows by constants."""
    if len(phi.args) != 2 or not isinstance(phi.args[0], Const):
        return None
    match phi.args[1]:
        case Binary(op=BinOp.ADD, bits=64, args=[base, Const()]) as step:
            return step if base is phi else None
        case _:
            return None


def _products(phi: Phi, step: Binary, users: dict[Op, list[Op]]) -> list[Binary]:
    """The products that are the counter's only uses, all by one factor; else none."""
    products: list[Binary] = []
    for value, ours in ((phi, step), (step, phi)):
        for user in users[value]:
            if user is ours:
                continue
            if isinstance(user, Branch):
                if not _is_bound(user):
                    return []
            elif isinstance(user, Binary) and _factor(user) and user.args[0] is value:
                products.append(user)
            else:
                return []
    factors = {_factor(product) for product in products}
    first, by = phi.args[0], step.args[1]
    small = all(isinstance(c, Const) and 0 <= c.value < _LIMIT for c in (first, by))
    return products if len(factors) == 1 and small else []


def _factor(op: Binary) -> int:
    """What the operation multiplies by, or 0."""
    by = op.args[1]
    if op.bits != 64 or not isinstance(by, Const) or not 0 < by.value < _LIMIT:
        return 0
    if op.op is BinOp.MUL:
        return by.value
    return 1 << by.value if op.op is BinOp.SHL and by.value < 24 else 0


def _is_bound(branch: Branch) -> bool:
    bound = branch.args[1]
    return (
        branch.bits == 64
        and branch.op not in _TESTS
        and isinstance(bound, Const)
        and 0 <= bound.value < _LIMIT
    )


def _rewrite(
    phi: Phi,
    step: Binary,
    products: list[Binary],
    users: dict[Op, list[Op]],
    renamed: dict[Op, Op],
) -> None:
    factor = _factor(products[0])
    for product in products:
        renamed[product] = product.args[0]
    for value in (phi, step):
        for user in users[value]:
            if isinstance(user, Branch):
                user.args[1] = _scaled(user.args[1], factor)
    phi.args[0] = _scaled(phi.args[0], factor)
    step.args[1] = _scaled(step.args[1], factor)


def _scaled(op: Op, factor: int) -> Op:
    assert isinstance(op, Const)
    return constant(op.value * factor)
