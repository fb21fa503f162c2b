"""Loops by bpf_loop (Linux 5.17): the body becomes a function that the helper calls.

    block head:                           block before:
      ... %1 = budget ...                   store u64 stack [&loop], ...      what it uses
      branch ne64 %1, 0 -> head, spent      %1 = call helper 181 (8388608, function f_loop,
                                     =>                           &loop, 0)
                                            ... what it changed = load u64 stack [&loop] ...
                                            where to: by the number of the way out

The callback gets the address of a frame on the caller's stack: the locals that both sides
use, the values and the addresses of slots that the body takes from outside, and the number
of the edge by which it left the loop. It returns 0 for another round, 1 for none.
"""

from beewire.bpf.codegen import graph
from beewire.bpf.codegen.algebra import constant
from beewire.bpf.codegen.bound import MAX_ROUNDS
from beewire.bpf.codegen.fault import fault
from beewire.bpf.ir import (
    Atomic,
    AtomicOp,
    Block,
    Branch,
    Budget,
    Call,
    CallKind,
    CmpOp,
    Const,
    Copy,
    Function,
    FunctionRef,
    GetLocal,
    GlobalRef,
    Jump,
    Kind,
    Load,
    Local,
    MapRef,
    Op,
    Param,
    Return,
    SetLocal,
    Slot,
    Space,
    Span,
    Store,
    Zero,
)
from beewire.hints import Callable
from beewire.reasons import Reason

_BPF_LOOP = 181
_WORD = 8
# Helpers that give references: sk_lookup_tcp and its kin, ringbuf_reserve, kptr_xchg.
_ACQUIRES = frozenset((84, 85, 99, 131, 194))
_PLAIN = (Const, MapRef, GlobalRef, FunctionRef)  # leaves that are the same everywhere


def outline(function: Function, name: Callable[[str], str]) -> list[Function]:
    """Take the loops with a budget out of `function`; `name` makes names unique."""
    made: list[Function] = []
    while True:
        order = graph.prune(function)
        found = next(
            (block for block in order if isinstance(_budget(block), Budget)), None
        )
        if found is None:
            return made
        body = graph.innermost_loop(order, found)
        if body is None:  # left in the first round on every way
            _drop(found)
            continue
        order, body = _with_releases(function, order, body)
        made.append(_Outlining(function, order, body, found).run(name))


def _with_releases(
    function: Function, order: list[Block], body: set[Block]
) -> tuple[list[Block], set[Block]]:
    """The body with what is behind it on ways out that hold a reference of its own.

    A callback cannot hand a reference on: it is given back before the loop is left.
    """
    taken = {
        held
        for block in body
        for op in block.ops
        if _acquires(op)
        for held in _holders(order, op)
    }
    users = [
        block
        for block in order
        if block not in body and any(taken.intersection(op.args) for op in block.ops)
    ]
    if not users:
        return order, body
    for block in users:
        _split_behind(function, block, taken)
    order = graph.prune(function)
    needed, waiting = set(users), list(users)
    while waiting:
        for pred in waiting.pop().preds:
            if pred not in body and pred not in needed:
                needed.add(pred)
                waiting.append(pred)
    # Where another way leads there as well, refuse_references() says so.
    return order, body if order[0] in needed else body | needed


def _split_behind(function: Function, block: Block, taken: set[Op]) -> None:
    """Put what follows the last use of `taken` into a block of its own."""
    last = max(i for i, op in enumerate(block.ops) if taken.intersection(op.args))
    rest = Block(f"{block.name}_after")
    rest.ops = block.ops[last + 1 :]
    block.ops = [*block.ops[: last + 1], Jump(rest, span=rest.ops[-1].span)]
    function.blocks.append(rest)


def _acquires(op: Op) -> bool:
    return isinstance(op, Call) and op.target in _ACQUIRES


def _holders(order: list[Block], reference: Op) -> set[Op]:
    """The values that may be `reference`: itself, and what locals hand it on as."""
    holders, locals_ = {reference}, set[Local]()
    before = 0
    while len(holders) + len(locals_) != before:
        before = len(holders) + len(locals_)
        for op in (op for block in order for op in block.ops):
            if isinstance(op, SetLocal) and op.args[0] in holders:
                locals_.add(op.local)
            elif (isinstance(op, GetLocal) and op.local in locals_) or (
                isinstance(op, Copy) and op.args[0] in holders
            ):
                holders.add(op)
    return holders


def _budget(block: Block) -> Op | None:
    last = block.ops[-1]
    return last.args[0] if isinstance(last, Branch) else None


def _drop(block: Block) -> Block:
    """Let the budget of a block never end; gives where it would have led to."""
    branch = block.ops[-1]
    assert isinstance(branch, Branch)
    more, spent = branch.then, branch.orelse
    if branch.op is not CmpOp.NE:
        more, spent = spent, more
    block.ops = [op for op in block.ops[:-1] if not isinstance(op, Budget)]
    block.ops.append(Jump(more, span=branch.span))
    return spent


class _Outlining:
    """One loop on its way out of its function."""

    __slots__ = (
        "body",
        "changed",
        "fields",
        "frame",
        "function",
        "head",
        "outside",
        "ready",
        "span",
        "spent",
    )

    def __init__(
        self, function: Function, order: list[Block], body: set[Block], test: Block
    ) -> None:
        self.function = function
        self.head = next(block for block in order if block in body)
        self.body = [block for block in order if block in body]
        self.outside = [block for block in order if block not in body]
        self.span: Span = test.ops[-1].span or function.span
        self.ready = _ready(order)[self.head]
        self.spent = _drop(test)
        self.frame = Slot("loop", 0)
        self.fields: dict[object, int] = {}
        self.changed: list[Local] = []

    def run(self, name: Callable[[str], str]) -> Function:
        """The callback; the function calls it."""
        entries = [pred for pred in self.head.preds if pred not in self.body]
        self.refuse_references()
        self.export_values()
        shared = self.shared()
        captured = self.captured()
        for thing in (*shared, *captured, None):
            self.fields[thing] = self.frame.size
            self.frame.size += _WORD
        callback = self.callback(name(f"{self.function.name}_loop"), shared, captured)
        ways = self.leave(callback)
        before = self.call(callback.name, shared, captured, ways)
        for pred in entries:
            graph.retarget(pred, self.head, before)
        self.function.blocks = [
            *[b for b in self.function.blocks if b not in self.body],
            before,
        ]
        return callback

    def refuse_references(self) -> None:
        """A reference that is taken in the loop must be given back in it.

        The kernel goes on with another round of a callback whatever it returns, so that
        one reference seems to be lost with every round.

        Raises:
            CompileError: The loop is left while it holds one.
        """
        used = {arg for block in self.outside for op in block.ops for arg in op.args}
        everywhere = [*self.body, *self.outside]
        for block in self.body:
            for op in block.ops:
                if _acquires(op) and used & _holders(everywhere, op):
                    raise fault(
                        op.span or self.span,
                        Reason.UNBOUNDED,
                        "the loop is left while it holds what is taken here, and its "
                        "rounds are counted by bpf_loop",
                        "give it back before return or break; or compile for a kernel "
                        "that has may_goto or iterators",
                    )

    # What both sides use.

    def export_values(self) -> None:
        """Hand values of the body that the rest uses on in locals."""
        made = {op for block in self.body for op in block.ops}
        locals_: dict[Op, Local] = {}
        for block in self.outside:
            out: list[Op] = []
            for op in block.ops:
                for i, arg in enumerate(op.args):
                    if arg in made:
                        local = locals_.setdefault(arg, Local("value", arg.kind))
                        op.args[i] = _put(out, GetLocal(local, span=op.span))
                out.append(op)
            block.ops = out
        for block in self.body if locals_ else ():
            block.ops = [
                each
                for op in block.ops
                for each in (
                    (op, SetLocal(locals_[op], op, span=op.span))
                    if op in locals_
                    else (op,)
                )
            ]

    def shared(self) -> list[Local]:
        """The locals that both the body and the rest use."""
        inside, outside = _locals(self.body), set(_locals(self.outside))
        self.changed = [
            local for local, is_set in inside.items() if is_set and local in outside
        ]
        return [local for local in inside if local in outside]

    def captured(self) -> list[Op]:
        """Values, and slots, from outside that the body uses."""
        made = {op for block in self.body for op in block.ops}
        used = dict.fromkeys(
            arg for block in self.body for op in block.ops for arg in op.args
        )
        others = {
            arg
            for block in self.outside
            for op in block.ops
            for arg in op.args
            if isinstance(arg, Slot)
        }
        return [
            arg
            for arg in used
            if arg not in made
            and not isinstance(arg, _PLAIN)
            and (not isinstance(arg, Slot) or arg in others)
        ]

    # The callback.

    def callback(self, name: str, shared: list[Local], captured: list[Op]) -> Function:
        """One round as a function of the frame."""
        params = (Param(0, "index", Kind.INT), Param(1, "frame", Kind.PTR))
        callback = Function(name, params, self.span)
        entry = Block("round")
        for local in shared:
            field = self.load(params[1], local, local.kind)
            entry.ops += [field, SetLocal(local, field, span=self.span)]
        taken: dict[Op, Op] = {
            op: _put(entry.ops, self.load(params[1], op, op.kind)) for op in captured
        }
        for block in self.body:
            for op in block.ops:
                _renew(op, taken)
        entry.ops.append(Jump(self.head, span=self.span))
        callback.blocks = [entry, *self.body]
        return callback

    def leave(self, callback: Function) -> list[Block]:
        """End the callback where a round ends; gives the ways out of the loop."""
        frame = callback.params[1]
        again = self.end("again", frame, 0)
        ways: list[Block] = []
        ends: dict[Block, Block] = {}
        for block in self.body:
            graph.retarget(block, self.head, again)
            for way in dict.fromkeys(block.successors()):
                if way in self.body or way is again:
                    continue
                if way not in ends:
                    ways.append(way)
                    ends[way] = self.end(f"leave{len(ways)}", frame, len(ways))
                graph.retarget(block, way, ends[way])
        callback.blocks += [again, *ends.values()]
        return ways

    def end(self, name: str, frame: Op, number: int) -> Block:
        """Write back what the round changed, and the way out if it is one."""
        block = Block(name)
        for local in self.changed:
            value = _put(block.ops, GetLocal(local, span=self.span))
            block.ops.append(self.store(frame, local, value, Space.MEM))
        if number:
            block.ops.append(self.store(frame, None, constant(number), Space.MEM))
        block.ops.append(Return(constant(min(number, 1)), span=self.span))
        return block

    # The caller.

    def call(
        self,
        name: str,
        shared: list[Local],
        captured: list[Op],
        ways: list[Block],
    ) -> Block:
        """Fill the frame, loop, take back what changed, and go where the loop went."""
        span = self.span
        block = Block("before_loop")
        ops = block.ops
        for local in shared:
            value: Op = constant(0)
            if local in self.ready:
                value = _put(ops, GetLocal(local, span=span))
            ops.append(self.store(self.frame, local, value, Space.STACK))
            if local in self.changed and local.kind is Kind.INT:
                # The kernel must not know what the loop begins with: see veil.
                at = self.fields[local]
                add = AtomicOp.ADD
                ops.append(Atomic(add, self.frame, at, _WORD, constant(0), span=span))
        for op in captured:
            ops.append(self.store(self.frame, op, op, Space.STACK))
        ops += [
            self.store(self.frame, None, constant(0), Space.STACK),
            Call(
                CallKind.HELPER,
                _BPF_LOOP,
                constant(MAX_ROUNDS),
                FunctionRef(name),
                self.frame,
                constant(0),
                span=span,
            ),
        ]
        for local in self.changed:
            new = self.load(self.frame, local, local.kind, Space.STACK)
            ops += [new, SetLocal(local, new, span=span)]
        self.go(block, ways)
        return block

    def go(self, block: Block, ways: list[Block]) -> None:
        """Lead on by the number of the way out; 0 is a budget that is used up."""
        span = self.span
        way = _put(block.ops, self.load(self.frame, None, Kind.INT, Space.STACK))
        for number, target in enumerate(ways, 1):
            other = Block(f"not{number}") if number < len(ways) else self.spent
            test = Branch(CmpOp.EQ, way, constant(number), target, other, span=span)
            block.ops.append(test)
            if other is not self.spent:
                self.function.blocks.append(other)
            block = other
        if not ways:
            block.ops.append(Jump(self.spent, span=span))

    # Fields of the frame.

    def load(
        self, base: Op, field: object, kind: Kind, space: Space = Space.MEM
    ) -> Load:
        at = self.fields[field]
        return Load(base, at, _WORD, space=space, kind=kind, span=self.span)

    def store(self, base: Op, field: object, value: Op, space: Space) -> Store:
        at = self.fields[field]
        return Store(base, at, _WORD, value, space=space, span=self.span)


def _locals(blocks: list[Block]) -> dict[Local, bool]:
    """The locals that blocks use, and whether they set them."""
    found: dict[Local, bool] = {}
    for block in blocks:
        for op in block.ops:
            if isinstance(op, SetLocal):
                found[op.local] = True
            elif isinstance(op, GetLocal):
                found.setdefault(op.local, False)
    return found


def _ready(order: list[Block]) -> dict[Block, set[Local]]:
    """The locals that are set on every way to each block."""
    made = {
        block: {op.local for op in block.ops if isinstance(op, SetLocal)}
        for block in order
    }
    ready: dict[Block, set[Local]] = {order[0]: set()}
    waiting = [order[0]]
    while waiting:
        block = waiting.pop()
        out = ready[block] | made[block]
        for way in block.successors():
            before = ready.get(way)
            now = set(out) if before is None else before & out
            if before is None or len(now) != len(before):
                ready[way] = now
                waiting.append(way)
    return ready


def _renew(op: Op, taken: dict[Op, Op]) -> None:
    """Let an operation use what the callback has of `taken`."""
    for i, arg in enumerate(op.args):
        if arg not in taken:
            continue
        op.args[i] = taken[arg]
        if not isinstance(arg, Slot):
            continue
        if isinstance(op, Load | Store | Zero) and i == 0:
            op.space = Space.MEM
        elif isinstance(op, Copy) and i == 0:
            op.dst_space = Space.MEM
        elif isinstance(op, Copy):
            op.src_space = Space.MEM


def _put(out: list[Op], op: Op) -> Op:
    out.append(op)
    return op
