"""Cleans up the control flow while locals are still locals.

    block a:                              block a:
      set ok, 0                             set ok, 0
      jump join                             jump no
    block join:                  =>       block no:
      %1 = get ok                           return 0
      branch ne64 %1, 0 -> yes, no

Jumps go past tests whose outcome is known (which also turns a counting loop upside down:
its first test is known), past empty blocks; straight lines become one block, equal
`return constant`s one block; what nobody reaches is dropped.
"""

from beewire.bpf.codegen import arith, graph
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import (
    Binary,
    Block,
    Branch,
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

_Known = dict[Local, int]


def tidy(work: Work) -> None:
    """Make the control flow small; needs a function without Phis."""
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
        inherited = known.get(preds[0], {}) if len(preds) == 1 else {}
        known[block] = env = _outgoing(block, inherited)
        if not env:
            continue
        for target in block.successors():
            if not _is_test(target):
                continue
            if shared is None:
                shared = _shared(order)
            changed |= _redirect(block, target, env, shared)
    return changed


def _outgoing(block: Block, inherited: _Known) -> _Known:
    env = inherited
    for op in block.ops:
        if isinstance(op, SetLocal):
            if env is inherited:
                env = dict(inherited)
            value = op.args[0]
            if isinstance(value, Const):
                env[op.local] = value.value
            else:
                env.pop(op.local, None)
    return env


def _is_test(block: Block) -> bool:
    """Whether the block only computes a condition, and branches on it or goes on."""
    ops = block.ops
    return (
        isinstance(ops[-1], Branch | Jump)
        and len(ops) <= _TEST_OPS
        and all(isinstance(op, _PURE) for op in ops[:-1])
    )


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
        env = env | {s.local: c.value for s, c in assigned}
        passed += [SetLocal(s.local, c, span=s.span) for s, c in assigned]
        if decided:
            # Only a test gone past is worth making what was on the way here.
            reached, sets = end, list(passed)
    if reached is target:
        return False
    block.ops[-1:] = [*sets, last]
    graph.retarget(block, target, reached)
    return True


_Assigned = list[tuple[SetLocal, Const]]


def _foresee(
    block: Block, env: _Known, shared: set[Op]
) -> tuple[Block, _Assigned] | None:
    """Where the test `block` leads, and what it assigns, when entered with `env`."""
    values: dict[Op, int] = {}
    local = dict(env)
    assigned: _Assigned = []
    for op in block.ops[:-1]:
        value = _evaluate(op, values, local)
        if value is None or op in shared:
            return None
        values[op] = value
        if isinstance(op, SetLocal):
            local[op.local] = value
            assigned.append((op, Const(value)))
    branch = block.ops[-1]
    if isinstance(branch, Jump):
        return branch.target, assigned
    assert isinstance(branch, Branch)
    a, b = (_value(arg, values) for arg in branch.args)
    if a is None or b is None:
        return None
    holds = arith.compare(branch.op, a, b, branch.bits)
    return (branch.then if holds else branch.orelse), assigned


def _value(op: Op, values: dict[Op, int]) -> int | None:
    return op.value if isinstance(op, Const) else values.get(op)


def _evaluate(op: Op, values: dict[Op, int], local: _Known) -> int | None:
    if isinstance(op, GetLocal):
        return local.get(op.local)
    args = [_value(arg, values) for arg in op.args]
    if None in args:
        return None
    match op, args:
        case Const(value=value), _:
            return value
        case SetLocal(), [int(a)]:
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
        graph.link(function.blocks)
