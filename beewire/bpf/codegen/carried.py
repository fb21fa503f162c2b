"""Which operand gives its register to the result: what a loop carries, if anything.

    %1 = phi sum (0, %3)                  v1 = 0
    ...                                   loop: ...
    %3 = binary add64 %2, %1      =>        v1 += v2

With the other operand's register, each round would end with a move.
"""

from beewire.bpf.ir import Binary, BinOp, Block, Const, Op, Param, Phi

COMMUTES = frozenset((BinOp.ADD, BinOp.MUL, BinOp.AND, BinOp.OR, BinOp.XOR))
_DEPTH = 6  # operations between a Phi and what it becomes


def carried(blocks: list[Block]) -> dict[Op, Op]:
    """By operation, the operand that comes from the Phi which the result goes to."""
    found: dict[Op, Op] = {}
    for block in blocks:
        for op in block.ops:
            if not isinstance(op, Phi):
                break
            for arg in op.args:
                _follow(arg, op, found, _DEPTH)
    return found


def _follow(value: Op, phi: Op, found: dict[Op, Op], depth: int) -> bool:
    """Whether `value` is made of `phi` by arithmetic; notes by which operands."""
    if value is phi:
        return True
    if depth and isinstance(value, Binary):
        for arg in value.args if value.op in COMMUTES else value.args[:1]:
            if _follow(arg, phi, found, depth - 1):
                found[value] = arg
                return True
    return False


def ordered(op: Binary, uses: dict[Op, int], kept: Op | None) -> tuple[Op, Op]:
    """The operand that the result begins as, and the other; `kept` is carried."""
    a, b = op.args
    if op.op not in COMMUTES or isinstance(b, Const) or kept is a:
        return a, b
    # Otherwise the operand that ends here.
    ends = uses[b] == 1 and (uses[a] > 1 or isinstance(a, Param))
    return (b, a) if ends or kept is b else (a, b)
