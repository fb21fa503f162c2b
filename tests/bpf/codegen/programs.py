"""Random programs in the IR: arithmetic, tests, loops, memory, map look-ups."""

import random

from beewire.bpf import ir

SPAN = ir.Span("random.py", 1, 1, 1, 2)
CTX_BYTES = 64
NUMBERS = (0, 1, 2, 3, 7, 8, 10, 0xFF, 0x100, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000)
WIDE = (0xFFFF_FFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 0x1234_5678_9ABC)


class Maker:
    """Makes one program from a source of randomness; the same twice from equal ones."""

    def __init__(self, source: random.Random, *, memory: bool = True) -> None:
        self.random = source
        self.memory = memory
        self.ctx = ir.Param(0, "ctx", ir.Kind.PTR)
        self.function = ir.Function("random", (self.ctx,), SPAN)
        self.block = self.start("entry")
        self.locals = [ir.Local(f"v{i}", ir.Kind.INT) for i in range(5)]
        self.slot = ir.Slot("record", 32)
        self.key = ir.Slot("key", 4, 4)
        self.exits: list[tuple[ir.Block, ir.Block]] = []

    def make(self, statements: int) -> ir.Function:
        """The whole program; its result is a mixture of all locals."""
        for local in self.locals:
            self.put(ir.SetLocal(local, self.leaf()))
        self.put(ir.Zero(self.slot, 0, 32, align=8, space=ir.Space.STACK))
        self.statements(statements, 3)
        result: ir.Op = ir.Const(0)
        for local in self.locals:
            result = self.put(ir.Binary(ir.BinOp.MUL, result, ir.Const(31)))
            value = self.put(ir.GetLocal(local))
            result = self.put(ir.Binary(ir.BinOp.ADD, result, value))
        for offset in range(0, 32, 8):
            load = self.put(ir.Load(self.slot, offset, 8, space=ir.Space.STACK))
            result = self.put(ir.Binary(ir.BinOp.XOR, result, load))
        high = self.put(ir.Binary(ir.BinOp.LSHR, result, ir.Const(32)))
        result = self.put(ir.Binary(ir.BinOp.XOR, result, high))
        self.put(ir.Return(result))
        return self.function

    def start(self, name: str) -> ir.Block:
        block = ir.Block(f"{name}{len(self.function.blocks)}")
        self.function.blocks.append(block)
        self.block = block
        return block

    def put(self, op: ir.Op) -> ir.Op:
        self.block.ops.append(op)
        return op

    def statements(self, count: int, depth: int) -> None:
        for _ in range(self.random.randint(1, count)):
            self.statement(depth)

    def statement(self, depth: int) -> None:
        kinds = [self.assign] * 6 + [self.store, self.store]
        if self.memory:
            kinds += [self.lookup, self.call]
        if depth:
            kinds += [self.choice(depth), self.choice(depth), self.loop(depth)]
            if self.exits:
                kinds.append(self.leave)
        self.random.choice(kinds)()

    def assign(self) -> None:
        self.put(ir.SetLocal(self.random.choice(self.locals), self.value(3)))

    def store(self) -> None:
        size = self.random.choice((1, 2, 4, 8))
        offset = self.random.randrange(0, 32, size)
        value = self.value(1)
        self.put(ir.Store(self.slot, offset, size, value, space=ir.Space.STACK))

    def call(self) -> None:
        if self.random.random() < 0.5:
            self.put(ir.Call(ir.CallKind.HELPER, 5))
            return
        value = self.value(2)
        self.put(ir.Call(ir.CallKind.HELPER, 5))
        self.put(ir.SetLocal(self.random.choice(self.locals), value))

    def lookup(self) -> None:
        key = ir.Const(self.random.randint(0, 5))
        self.put(ir.Store(self.key, 0, 4, key, space=ir.Space.STACK))
        place = self.put(
            ir.Call(ir.CallKind.HELPER, 1, ir.MapRef("m"), self.key, kind=ir.Kind.PTR)
        )
        before = self.block
        found, after = self.start("found"), ir.Block("after")
        before.ops.append(ir.Branch(ir.CmpOp.NE, place, ir.Const(0), found, after))
        target = self.random.choice(self.locals)
        kind = self.random.randrange(4)
        value = self.value(1)
        if kind == 0:
            load = self.put(ir.Load(place, 0, 8, space=ir.Space.MAP))
            self.put(ir.SetLocal(target, load))
        elif kind == 1:
            self.put(ir.Atomic(ir.AtomicOp.ADD, place, 0, 8, value))
        elif kind == 2:
            # What reads or writes only needs a kernel of its own: see the author's tests.
            op = self.random.choice(tuple(ir.AtomicOp)[:6])
            size = self.random.choice((4, 8))
            expected = self.value(1) if op is ir.AtomicOp.CMPXCHG else None
            old = ir.Atomic(op, place, 0, size, value, expected, fetch=True)
            self.put(ir.SetLocal(target, self.put(old)))
        else:
            self.put(ir.Store(place, 0, 8, value, space=ir.Space.MAP))
        self.put(ir.Jump(after))
        self.resume(after)

    def resume(self, block: ir.Block) -> None:
        block.name += str(len(self.function.blocks))
        self.function.blocks.append(block)
        self.block = block

    def choice(self, depth: int):  # type: ignore[no-untyped-def]  # a bound statement
        def make() -> None:
            a, b = self.value(2), self.value(1)
            op = self.random.choice(tuple(ir.CmpOp))
            before = self.block
            after = ir.Block("join")
            then = self.start("then")
            self.statements(3, depth - 1)
            self.put(ir.Jump(after))
            orelse = after
            if self.random.random() < 0.5:
                orelse = self.start("else")
                self.statements(3, depth - 1)
                self.put(ir.Jump(after))
            bits = self.random.choice((32, 64, 64))
            before.ops.append(ir.Branch(op, a, b, then, orelse, bits))
            self.resume(after)

        return make

    def loop(self, depth: int):  # type: ignore[no-untyped-def]  # a bound statement
        def make() -> None:
            counter = ir.Local("i", ir.Kind.INT)
            self.put(ir.SetLocal(counter, ir.Const(0)))
            head_before = self.block
            head = self.start("head")
            head_before.ops.append(ir.Jump(head))
            step, done = ir.Block("step"), ir.Block("done")
            i = self.put(ir.GetLocal(counter))
            count = ir.Const(self.random.randint(0, 4))
            body = self.start("body")
            head.ops.append(ir.Branch(ir.CmpOp.ULT, i, count, body, done))
            target = self.random.choice(self.locals)
            now = self.put(ir.GetLocal(counter))
            self.put(ir.SetLocal(target, now))
            self.exits.append((step, done))
            self.statements(3, depth - 1)
            self.exits.pop()
            self.put(ir.Jump(step))
            self.resume(step)
            last = self.put(ir.GetLocal(counter))
            more = self.put(ir.Binary(ir.BinOp.ADD, last, ir.Const(1)))
            self.put(ir.SetLocal(counter, more))
            self.put(ir.Jump(head))
            self.resume(done)

        return make

    def leave(self) -> None:
        """Leave or continue the loop around, if a test says so."""
        a, b = self.value(1), self.leaf()
        before = self.block
        target = self.random.choice(self.exits[-1])
        after = ir.Block("stay")
        op = self.random.choice(tuple(ir.CmpOp))
        before.ops.append(ir.Branch(op, a, b, target, after))
        self.resume(after)

    def leaf(self) -> ir.Op:
        kind = self.random.randrange(4)
        if kind == 0:
            return ir.Const(self.random.choice(NUMBERS))
        if kind == 1:
            return ir.Const(self.random.choice(WIDE))
        size = self.random.choice((1, 2, 4, 8))
        offset = self.random.randrange(0, CTX_BYTES, size)
        return self.put(
            ir.Load(
                self.ctx,
                offset,
                size,
                space=ir.Space.CTX,
                signed=self.random.random() < 0.3,
            )
        )

    def value(self, depth: int) -> ir.Op:
        kind = self.random.randrange(10)
        if depth == 0 or kind < 2:
            if self.random.random() < 0.3:
                return self.leaf()
            return self.put(ir.GetLocal(self.random.choice(self.locals)))
        if kind == 2:
            bits = self.random.choice((8, 16, 32))
            signed = self.random.random() < 0.5
            return self.put(ir.Extend(self.value(depth - 1), bits, signed=signed))
        if kind == 3:
            bits = self.random.choice((16, 32, 64))
            return self.put(ir.ByteSwap(self.value(depth - 1), bits))
        if kind == 4:
            size = self.random.choice((1, 2, 4, 8))
            offset = self.random.randrange(0, 32, size)
            load = ir.Load(self.slot, offset, size, space=ir.Space.STACK)
            return self.put(load)
        op = self.random.choice(tuple(ir.BinOp))
        a = self.value(depth - 1)
        b = self.leaf() if self.random.random() < 0.6 else self.value(depth - 1)
        return self.put(ir.Binary(op, a, b, self.random.choice((32, 64, 64))))


def crowded(source: random.Random, values: int, steps: int) -> ir.Function:
    """One block that keeps `values` numbers, each of which is used again and again."""
    ctx = ir.Param(0, "ctx", ir.Kind.PTR)
    function = ir.Function("crowded", (ctx,), SPAN)
    block = ir.Block("entry")
    function.blocks.append(block)
    ops = block.ops
    kept: list[ir.Op] = []
    for i in range(values):
        load = ir.Load(ctx, 8 * i % CTX_BYTES, 8, space=ir.Space.CTX)
        kept.append(ir.Binary(ir.BinOp.MUL, load, ir.Const(2 * i + 3)))
        ops += [load, kept[-1]]
    kinds = (ir.BinOp.ADD, ir.BinOp.SUB, ir.BinOp.MUL, ir.BinOp.XOR)
    for _ in range(steps):
        a, b = source.sample(kept, 2)
        ops.append(ir.Binary(source.choice(kinds), a, b))
        kept[source.randrange(values)] = ops[-1]
    for value in kept:
        ops.append(ir.Binary(ir.BinOp.XOR, ops[-1], value))
    ops.append(ir.Return(ops[-1]))
    return function
