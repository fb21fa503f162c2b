"""Cleans up the control flow while locals are still locals.

    block a:                              block a:
      set ok, 0                             set ok, 0
      jump join                             jump no
    block join:                  =>       block no:
      %1 = get ok                           return 0
      branch ne64 %1, 0 -> yes, no

Jumps go past tests whose outcome is known, by a constant or since a pointer was tested
before (which also turns a counting loop upside down: its first test is known), past empty
blocks; straight lines become one block, equal
`return constant`s one block; what nobody reaches is dropped.
"""

from beewire.bpf.codegen import arith, graph
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import (
    Binary,
    Block,
    Branch,
    CmpOp,
    Const,
    Extend,
    Function,
    GetLocal,
    Jump,
    Local,
    Op,
    Return,
    SetLocal,
)

_HOPS = 8  # how many tests one jump may go past: a loop of known tests has no end
_TEST_OPS = 8  # longer blocks are no tests


class _Alive:
    """Not zero: a pointer that was tested. `local` has it."""

    __slots__ = ("local",)

    def __init__(self, local: Local) -> None:
        self.local = local


_Value = int | _Alive
_Known = dict[Local, _Value]
_NONE: frozenset[Op] = frozenset()


def tidy(work: Work) -> None:
    """Make the control flow small; needs a function without Phis. Leaves `preds` old."""
    function = work.function
    _merge_returns(function.blocks)
    for block in function.blocks:
        _shorten(block)
    order = graph.prune(function)
    if function.blocks[0].preds:  # SSA wants an entry that nothing jumps to
        entry = Block("entry")
        entry.ops.append(Jump(function.blocks[0]))
        function.blocks.insert(0, entry)
        order = graph.prune(function)
    if _thread(order):
        for block in function.blocks:
            _shorten(block)
        graph.prune(function)
    _join(function)


def _shorten(block: Block) -> None:
    """Go past empty blocks; decide branches that need no run time."""
    last = block.ops[-1]
    if isinstance(last, Jump):
        last.target = _skip(last.target)
    elif isinstance(last, Branch):
        last.then = _skip(last.then)
        last.orelse = _skip(last.orelse)
        target = _decided(last)
        if target is not None:
            block.ops[-1] = Jump(target, span=last.span)


def _skip(block: Block) -> Block:
    seen = 0
    while seen < _HOPS and isinstance(first := block.ops[0], Jump):
        block = first.target
        seen += 1
    return block


def _decided(branch: Branch) -> Block | None:
    if branch.then is branch.orelse:
        return branch.then
    a, b = branch.args
    if isinstance(a, Const) and isinstance(b, Const):
        holds = arith.compare(branch.op, a.value, b.value, branch.bits)
        return branch.then if holds else branch.orelse
    return None


def _merge_returns(blocks: list[Block]) -> None:
    """`return 1` at many places: one block that returns it, and jumps there."""
    groups: dict[int, list[Block]] = {}
    for block in blocks:
        last = block.ops[-1]
        if isinstance(last, Return) and isinstance(result := last.args[0], Const):
            groups.setdefault(result.value, []).append(block)
    for value, group in groups.items():
        if len(group) == 1:
            continue
        home = next((b for b in group if len(b.ops) == 1), None)
        if home is None:
            home = Block(f"return_{value}")
            home.ops.append(group[0].ops[-1])
            blocks.append(home)
        for block in group:
            if block is not home:
                block.ops[-1] = Jump(home, span=block.ops[-1].span)


def _thread(order: list[Block]) -> bool:
    """Lead jumps past tests that the constants in locals decide."""
    known: dict[Block, _Known] = {}
    shared: set[Op] | None = None
    changed = False
    for block in order:
        preds = block.preds
        inherited: _Known = {}
        if len(preds) == 1 and preds[0] in known:
            inherited = _learn(preds[0], block, known[preds[0]])
        known[block] = env = _outgoing(block, inherited)
        if not env:
            continue
        for target in block.successors():
            if not _is_test(target) or _foresee(target, env, _NONE) is None:
                continue
            if shared is None:
                shared = _shared(order)
            changed |= _redirect(block, target, env, shared)
    return changed


def _learn(pred: Block, block: Block, env: _Known) -> _Known:
    """What holds where `block` is entered from `pred`: a test may have met no zero."""
    last = pred.ops[-1]
    if not isinstance(last, Branch) or block is not _not_zero(last):
        return env
    value = last.args[0]
    alive: dict[Local, Op] = {}
    for op in pred.ops:
        if isinstance(op, GetLocal):
            alive.setdefault(op.local, op)
            if op is value:
                alive[op.local] = op
        elif isinstance(op, SetLocal):
            alive[op.local] = op.args[0]
    found: _Known = {local: _Alive(local) for local, op in alive.items() if op is value}
    return env | found if found else env


def _not_zero(test: Branch) -> Block | None:
    """Where a test of a whole value for zero goes with any other value."""
    b = test.args[1]
    if (
        test.bits != 64
        or not isinstance(b, Const)
        or b.value
        or test.then is test.orelse
    ):
        return None
    return {CmpOp.NE: test.then, CmpOp.EQ: test.orelse}.get(test.op)


def _outgoing(block: Block, inherited: _Known) -> _Known:
    env = inherited
    values: dict[Op, _Value | None] = {}
    for op in block.ops:
        if isinstance(op, GetLocal):
            if op.local in env:
                values[op] = _current(op.local, env)
        elif isinstance(op, SetLocal):
            if env is inherited:
                env = dict(inherited)
            arg = op.args[0]
            value = arg.value if isinstance(arg, Const) else values.get(arg)
            if value is None:
                env.pop(op.local, None)
            else:
                env[op.local] = value
    return env


def _current(local: Local, env: _Known) -> _Value | None:
    """What is known of a local, as a value that was read from it now."""
    value = env.get(local)
    return _Alive(local) if isinstance(value, _Alive) else value


def _is_test(block: Block) -> bool:
    """Whether the block only computes a condition, and branches on it or goes on."""
    ops = block.ops
    return (
        len(ops) <= _TEST_OPS
        and isinstance(ops[-1], _GO_ON)
        and all(isinstance(op, _PURE) for op in ops[:-1])
    )


_GO_ON = (Branch, Jump)
_PURE = (GetLocal, SetLocal, Binary, Extend, Const)


def _shared(order: list[Block]) -> set[Op]:
    """Values that are used outside of the block that computes them."""
    home = {op: block for block in order for op in block.ops}
    return {
        arg
        for block in order
        for op in block.ops
        for arg in op.args
        if home.get(arg, block) is not block
    }


def _redirect(block: Block, target: Block, env: _Known, shared: set[Op]) -> bool:
    """Lead the edge from `block` to `target` on for as long as tests are decided."""
    last = block.ops[-1]
    alone = isinstance(last, Jump)
    end, reached = target, target
    passed: list[Op] = []
    sets: list[Op] = []
    for _ in range(_HOPS):
        found = _foresee(end, env, shared) if _is_test(end) else None
        if found is None or (found[1] and not alone):
            break
        decided = isinstance(end.ops[-1], Branch)
        end, assigned = found
        env = env | {s.local: value for s, value in assigned}
        for each, value in assigned:
            _assign(each, value, passed)
        if decided:
            # Only a test gone past is worth making what was on the way here.
            reached, sets = end, list(passed)
    if reached is target:
        return False
    block.ops[-1:] = [*sets, last]
    graph.retarget(block, target, reached)
    return True


_Assigned = list[tuple[SetLocal, _Value]]


def _assign(like: SetLocal, value: _Value, out: list[Op]) -> None:
    """Make an assignment that a test gone past would have made."""
    new: Op = Const(value) if isinstance(value, int) else GetLocal(value.local)
    if isinstance(new, GetLocal):
        out.append(new)
    out.append(SetLocal(like.local, new, span=like.span))


def _foresee(
    block: Block, env: _Known, shared: set[Op] | frozenset[Op]
) -> tuple[Block, _Assigned] | None:
    """Where the test `block` leads, and what it assigns, when entered with `env`."""
    values: dict[Op, _Value] = {}
    local = dict(env)
    assigned: _Assigned = []
    for op in block.ops[:-1]:
        value = _evaluate(op, values, local)
        if value is None or op in shared:
            return None
        values[op] = value
        if isinstance(op, SetLocal):
            local[op.local] = value
            assigned.append((op, value))
            # What was read from the local before is in it no more.
            values = {
                old: known
                for old, known in values.items()
                if not (isinstance(known, _Alive) and known.local is op.local)
            }
    branch = block.ops[-1]
    if isinstance(branch, Jump):
        return branch.target, assigned
    assert isinstance(branch, Branch)
    holds = _outcome(branch, *(_value(arg, values) for arg in branch.args))
    if holds is None:
        return None
    return (branch.then if holds else branch.orelse), assigned


def _outcome(branch: Branch, a: _Value | None, b: _Value | None) -> bool | None:
    if isinstance(a, int) and isinstance(b, int):
        return arith.compare(branch.op, a, b, branch.bits)
    if isinstance(a, _Alive) and b == 0 and branch.bits == 64:
        return {CmpOp.EQ: False, CmpOp.NE: True}.get(branch.op)
    return None


def _value(op: Op, values: dict[Op, _Value]) -> _Value | None:
    return op.value if isinstance(op, Const) else values.get(op)


def _evaluate(op: Op, values: dict[Op, _Value], local: _Known) -> _Value | None:
    if isinstance(op, GetLocal):
        return _current(op.local, local)
    args = [_value(arg, values) for arg in op.args]
    if None in args:
        return None
    match op, args:
        case Const(value=value), _:
            return value
        case SetLocal(), [int() | _Alive() as a]:
            return a
        case Extend(), [int(a)]:
            return arith.extend(a, op.bits, is_signed=op.signed)
        case Binary(), [int(a), int(b)]:
            return arith.binary(op.op, a, b, op.bits)
        case _:
            return None


def _join(function: Function) -> None:
    """Append each block to its only predecessor, if that goes nowhere else."""
    entry = function.blocks[0]
    gone: set[Block] = set()
    for block in function.blocks:
        if block in gone:
            continue
        while isinstance(last := block.ops[-1], Jump):
            target = last.target
            if len(target.preds) != 1 or target is entry or target is block:
                break
            block.ops[-1:] = target.ops
            gone.add(target)
    if gone:
        function.blocks = [block for block in function.blocks if block not in gone]
