"""The state of one compilation: blocks, what is known where, faults found so far.

The handlers of the language's constructs (`expressions`, `statements`, ...) register
themselves in the tables here by the syntax node that they lower; a node without a
handler is refused.
"""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.byte_order import TO_HOST, check_order
from beewire.bpf.lang.faults import Follows, Refused, Rule, under_lock, usual
from beewire.bpf.lang.flow import Flow, Loop, Target, Variable
from beewire.bpf.lang.ints import check_64
from beewire.bpf.lang.source import Source, stored_names
from beewire.bpf.lang.types import BOOL, IntType
from beewire.bpf.lang.unit import Unit
from beewire.bpf.lang.values import (
    NUMBER,
    Int,
    Literal,
    Memory,
    Reference,
    Value,
    is_cell,
)
from beewire.bpf.object.kinds import AttachKind, ProgramKind
from beewire.errors import Diagnostic
from beewire.hints import Any, Callable, FunctionType, TypeVar
from beewire.reasons import Reason

N = TypeVar("N", bound=ast.AST)
K = TypeVar("K")
H = TypeVar("H")

EXPRESSIONS: dict[type[ast.AST], Callable[["Builder", Any], Value]] = {}
STATEMENTS: dict[type[ast.AST], Callable[["Builder", Any], None]] = {}
CONDITIONS: dict[type[ast.AST], Callable[["Builder", Any, Target, Target], None]] = {}
# Turns what `deferred` may give into what `expr` gives.
FINISH: dict[type[Value], Callable[["Builder", Any], Value]] = {}
# Modules that lower what not every program has, imported when it is met: statements,
# names of functions and methods, functions of Python.
_LATE: dict[str, tuple[object, ...]] = {
    "atomic_calls": (
        "cmpxchg", "fetch_add", "fetch_and", "fetch_or", "fetch_xor",
        "load_acquire", "store_release", "xchg",
    ),
    "core_calls": (
        "enum_value", "exists", "kernel_str", "kernel_type_id", "sizeof",
        "type_matches", "user_str",
    ),
    "inline": (ast.Call,),  # as a condition
    "iteration": ("each",),  # `for` over anything but a range
    "loops": (ast.For, ast.While, ast.Break, ast.Continue),
    "matches": (ast.Match,),
    "network_calls": (
        "bind", "bswap64", "htonl", "htons", "ip4", "ntohl", "ntohs",
        "sk_lookup_tcp", "sk_lookup_udp",
    ),
    "object_calls": ("obj_drop", "obj_new"),
    "packet_calls": ("at", "pull", "read", "write"),
    "printk": ("printk",),
    "python_calls": (bool, int, len, max, min, print, range),
    "seq_calls": ("attach_cookie", "context", "seq_printf", "seq_write"),
    "symbol_calls": ("held",),
    "usdt_calls": ("arg",),
    "with_blocks": (ast.With,),
}  # fmt: skip
LATE = {each: module for module, constructs in _LATE.items() for each in constructs}
# Nodes that are refused, each with the advice of what to write instead.
ADVICE: dict[type[ast.AST], tuple[str, str]] = {}

SLOT_ALIGN = 8
SPIN_UNLOCK = 94


class Frame:
    """A function that is being compiled: the program, or one inlined into it."""

    __slots__ = (
        "bound",
        "cleanups",
        "condition",
        "definition",
        "exit",
        "function",
        "loops",
        "parent",
        "result",
        "source",
        "stored",
        "variables",
        "wanted",
    )

    def __init__(
        self,
        function: FunctionType,
        source: Source,
        definition: ast.FunctionDef,
        parent: "Frame | None" = None,
    ) -> None:
        self.function = function
        self.source = source
        self.definition = definition
        self.parent = parent
        self.stored = stored_names(definition.body)
        self.variables: dict[str, Variable] = {}
        # Parameters that the body never assigns: values, not variables.
        self.bound: dict[str, Value] = {}
        self.loops: list[Loop] = []
        # Run, last first, when the way out of a `with` block is early.
        self.cleanups: list[Callable[[], None]] = []
        # Of an inlined function: where it returns to, and what it yields.
        self.exit: Target | None = None
        self.result: Variable | None = None
        self.wanted: Any = None
        self.condition: tuple[Target, Target] | None = None


class Builder:
    """Makes one `ir.Function`."""

    def __init__(
        self,
        function: ir.Function,
        hints: dict[Any, Any],
        neutral: int,
        unit: Unit | None = None,
    ) -> None:
        self.function = function
        self.hints = hints
        # What a program that returns nothing returns.
        self.neutral = neutral
        # The helpers that it may call (bit = number), and its kind and attach kind.
        self.helpers = -1
        self.program: tuple[ProgramKind, AttachKind | None] | None = None
        # How often the kernel follows what is compiled now: loops around it multiply.
        self.rounds = 1
        self.unit = unit or Unit()
        # The program's context, where the function has it.
        self.context: ir.Op | None = None
        # Whether it is a subprogram by the compiler's own choice.
        self.chosen = False
        # Whether it may end the program in the middle, the operations that do so, and
        # where a callback says that it did.
        self.stops = False
        self.ends: list[ir.Op] = []
        self.told: ir.Op | None = None
        # How many operations there are so far, and which functions are among them.
        self.count = 0
        self.inlined: set[FunctionType] = set()
        self.diagnostics: list[Diagnostic] = []
        # What the reference interpreter needs to know: the types of variables, by
        # function, and those of choices between values, by syntax node.
        self.variables: dict[ast.FunctionDef, dict[str, Variable]] = {}
        self.types: dict[ast.AST, IntType] = {}
        self.flow = Flow()
        self.live = True
        self.block = ir.Block("entry")
        function.blocks.append(self.block)
        self.node: ast.expr | ast.stmt | ast.pattern | None = None
        # The call that heads a `with` block, while it is compiled.
        self.managed: ast.Call | None = None
        # The lock that is held, as diagnostics call it; whether RCU is held.
        self.locked, self.in_rcu = "", False
        # What is good until the lock, or RCU, is left.
        self.under_lock: list[Reference] = []
        self.under_rcu: list[Reference] = []
        self.frame: Frame
        self._span_of: object = None
        self._span: ir.Span | None = None
        self._temporaries: list[ir.Slot] = []
        self._free: dict[int, list[ir.Slot]] = {}
        self._names: dict[str, int] = {}
        # Slots of structs that variables refer into, and one such variable each.
        self.referred: dict[ir.Op, str] = {}
        # Counters that are constants to the kernel, in each round that it walks.
        self.walked: set[ir.Local] = set()
        # The most that variables of loops over ranges may be; they are not negative.
        self.most: dict[ir.Local, int] = {}
        # By number: the results of `call_once`, available where the flow says so.
        self._once: dict[int, Variable] = {}
        # Per-CPU globals, found where the flow says so.
        self.places: dict[Any, Variable] = {}
        # The frame of the function itself; others are compiled in.
        self.top: Frame | None = None

    def finish(self) -> None:
        """Drop what cannot be reached, and put the rest in the order of the source."""
        order: list[ir.Block] = []
        seen = {self.function.blocks[0]}
        stack = self.function.blocks[:1]
        while stack:
            block = stack.pop()
            order.append(block)
            for successor in reversed(block.successors()):
                if successor not in seen:
                    seen.add(successor)
                    stack.append(successor)
        self.function.blocks = order

    # Operations.

    def enter(self, frame: Frame) -> None:
        """Continue in another function."""
        self.frame = frame
        self.top = self.top or frame
        self.variables[frame.definition] = frame.variables

    def span(self) -> ir.Span | None:
        """The place that operations made now stem from."""
        if self._span_of is not self.node and self.node is not None:
            self._span_of = self.node
            self._span = self.frame.source.span(self.node)
        return self._span

    def emit(self, op: ir.Op) -> ir.Op:
        """Append an operation to the current block."""
        if op.span is None:
            op.span = self.span()
        self.block.ops.append(op)
        self.count += 1
        return op

    def binary(self, op: ir.BinOp, a: ir.Op, b: ir.Op, bits: int = 64) -> ir.Op:
        """Append an arithmetic operation."""
        return self.emit(ir.Binary(op, a, b, bits))

    def load(self, base: ir.Op, offset: int, type_: IntType, space: ir.Space) -> Int:
        """An integer in memory."""
        load = ir.Load(base, offset, type_.size, space=space, signed=type_.signed)
        return Int(self.emit(load), type_)

    def call(self, number: int, *args: ir.Op, kind: ir.Kind = ir.Kind.INT) -> ir.Op:
        """Append a call of a BPF helper function.

        Raises:
            Rule: Programs of this kind may not call it.
        """
        if not self.helpers >> number & 1:
            from beewire.bpf.lang import prototypes  # noqa: PLC0415 - errors only

            raise prototypes.refusal(number, self.program)
        if self.locked and number != SPIN_UNLOCK:
            raise under_lock(self.locked, "helper")
        return self.emit(ir.Call(ir.CallKind.HELPER, number, *args, kind=kind))

    def kfunc(self, name: str, *args: ir.Op, kind: ir.Kind = ir.Kind.INT) -> ir.Op:
        """Append a call of a kernel function.

        Raises:
            Rule: It may not be called while a lock is held.
        """
        # The verifier's kfunc_spin_allowed().
        if self.locked and not name.startswith(("bpf_list_", "bpf_rbtree_")):
            raise under_lock(self.locked, "function of the kernel")
        return self.emit(ir.Call(ir.CallKind.KFUNC, name, *args, kind=kind))

    def call_once(self, number: int, *, kind: ir.Kind = ir.Kind.INT) -> ir.Op:
        """As `call`, of a helper whose result stays the same while the program runs."""
        known = self._once.get(number)
        if known is None:
            known = self._once[number] = Variable(f"helper {number}")
            known.local = ir.Local(known.name, kind)
        assert known.local is not None
        if known not in self.flow.assigned:
            self.emit(ir.SetLocal(known.local, self.call(number, kind=kind)))
            self.flow = self.flow.assign(known)
        return self.emit(ir.GetLocal(known.local))

    def address(self, place: Memory) -> ir.Op:
        """A register with the address of `place`."""
        if place.offset == 0:
            return place.op
        return self.binary(ir.BinOp.ADD, place.op, ir.Const(place.offset))

    def op(self, value: Int | Literal) -> ir.Op:
        """An integer as operand."""
        if isinstance(value, Int):
            return value.op
        return ir.Const(check_64(value.value))

    def narrow(self, value: Int | Literal, type_: IntType) -> Int:
        """An integer wrapped to `type_`; a literal has been checked to fit."""
        if isinstance(value, Literal):
            return Int(ir.Const(value.value), type_)
        same = value.type
        check_order(same, type_)
        if type_.is_bool and not same.is_bool:
            raise Rule(
                Reason.NOT_BOOL,
                "an integer does not go into bool",
                "compare it: x != 0",
            )
        if type_.bits == 64 or (type_.low <= same.low and same.high <= type_.high):
            return Int(value.op, type_)
        wrapped = ir.Extend(value.op, type_.bits, signed=type_.signed)
        return Int(self.emit(wrapped), type_)

    # Stack.

    def slot(self, name: str, size: int) -> ir.Slot:
        """Stack memory for as long as the function runs."""
        return ir.Slot(name, size, SLOT_ALIGN)

    def temporary(self, name: str, size: int) -> ir.Slot:
        """Stack memory until the statement ends."""
        free = self._free.get(size)
        slot = free.pop() if free else ir.Slot(name, size, SLOT_ALIGN)
        self._temporaries.append(slot)
        return slot

    def keep(self, slot: ir.Op) -> None:
        """Let a temporary live as long as the function: something refers to it."""
        self._temporaries = [each for each in self._temporaries if each is not slot]

    # Control flow.

    def target(self, name: str) -> Target:
        """A block to jump to, named uniquely."""
        number = self._names.get(name, 0)
        self._names[name] = number + 1
        return Target(f"{name}{number}" if number else name)

    def jump(self, target: Target) -> None:
        """End the block; nothing follows until a target is started."""
        self.emit(ir.Jump(target.block))
        self._go(target, self.flow)
        self.live = False

    def branch(
        self, op: ir.CmpOp, a: ir.Op, b: ir.Op, then: Target, orelse: Target
    ) -> None:
        """End the block, going to `then` when `a op b`."""
        self.emit(ir.Branch(op, a, b, then.block, orelse.block))
        self._go(then, self.flow)
        self._go(orelse, self.flow)
        self.live = False

    def branch_on_none(
        self, op: ir.Op, variable: Variable | None, none: Target, some: Target
    ) -> None:
        """End the block, going to `none` when the pointer `op` is null."""
        self.emit(ir.Branch(ir.CmpOp.EQ, op, ir.Const(0), none.block, some.block))
        if variable is not None:
            self._go(none, self.flow.narrow(variable, is_none=True))
            self._go(some, self.flow.narrow(variable, is_none=False))
        else:
            self._go(none, self.flow)
            self._go(some, self.flow)
        self.live = False

    def _go(self, target: Target, flow: Flow) -> None:
        if not self.live:
            target.pass_by(flow)
            return
        if target.started and target.flow is not None:
            # The next round begins with what the first one had, no more and no less.
            before = target.flow
            for reference in flow.held - before.held:
                self.lose(reference, "at the end of the loop's round")
            for reference in before.held & flow.released - flow.held:
                self.lose(reference, "in the loop's next round", was_released=True)
        target.enter(flow)

    def lose(
        self, reference: Reference, where: str, *, was_released: bool = False
    ) -> None:
        """Note that `reference` is not given back on every way, once."""
        if reference.reported:
            return
        reference.reported = True
        if was_released:
            message = f"{reference.what} was given back, and is needed {where}"
            hint = "leave the loop when it is given back, or acquire it in the loop"
        else:
            message = f"{reference.what} is not given back {where}"
            hint = reference.advice
        frame, node = reference.place
        outer, self.frame = self.frame, frame
        self.diagnostics.append(self._diagnostic(node, Reason.LEAK, message, hint))
        self.frame = outer

    def decided(self, decide: Callable[[Target, Target], None]) -> Int:
        """A bool: 1 where `decide` goes to its first target, 0 at the second."""
        then, orelse, done = (
            self.target("true"),
            self.target("false"),
            self.target("bool"),
        )
        decide(then, orelse)
        result = ir.Local("condition", ir.Kind.INT)
        for target, value in ((then, 1), (orelse, 0)):
            self.start(target)
            self.emit(ir.SetLocal(result, ir.Const(value)))
            self.jump(done)
        self.start(done)
        return Int(self.emit(ir.GetLocal(result)), BOOL)

    def start(self, target: Target) -> None:
        """Continue in `target`. If nothing leads there, what follows is dead code."""
        target.started = True
        self.block = target.block
        self.function.blocks.append(target.block)
        self.live = self.live or target.flow is not None
        self.flow = target.flow or target.unreached or self.flow

    def leave(self, terminator: ir.Op) -> None:
        """End the block with a return."""
        self.emit(terminator)
        self.live = False
        self.start(self.target("dead"))

    # Syntax.

    def expr(self, node: ast.expr) -> Value:
        """The value of an expression."""
        value = self.deferred(node)
        finish = FINISH.get(type(value))
        if finish is None:
            return value
        outer, self.node = self.node, node
        try:
            return finish(self, value)
        finally:
            self.node = outer

    def deferred(self, node: ast.expr) -> Value:
        """As `expr`, for a caller that will say where in memory the value goes."""
        handler = EXPRESSIONS.get(type(node))
        if handler is None:
            raise self.unsupported(node)
        outer, self.node = self.node, node
        try:
            return handler(self, node)
        except Rule as rule:
            raise self.refuse(node, rule.code, rule.message, rule.hint) from None
        finally:
            self.node = outer

    def condition(self, node: ast.expr, then: Target, orelse: Target) -> None:
        """End the block, going to `then` when `node` is true."""
        handler = handler_of(CONDITIONS, type(node)) or CONDITIONS[ast.expr]
        outer, self.node = self.node, node
        try:
            handler(self, node, then, orelse)
        except Rule as rule:
            raise self.refuse(node, rule.code, rule.message, rule.hint) from None
        finally:
            self.node = outer

    def integer(self, node: ast.expr, *, ordered: bool = False) -> Int | Literal:
        """The value of an expression that must be an integer.

        `ordered`: one in network order will do, the caller looks at its type.
        """
        value = self.expr(node)
        if isinstance(value, Int) and value.type.is_big_endian and not ordered:
            host = f"convert it to host order: {TO_HOST[value.type.bits]}(...)"
            message = (
                f"a number in network order ({value.type.name}) is no integer here"
            )
            raise self.refuse(node, Reason.BYTE_ORDER, message, host)
        if isinstance(value, NUMBER):
            return value
        hint = ""
        if is_cell(value):
            hint = f"read the value: {ast.unparse(node)}.value"
        found = value.describe()
        raise self.refuse(
            node, Reason.NEEDS_INTEGER, f"an integer is needed here, not {found}", hint
        )

    def statements(self, body: list[ast.stmt]) -> None:
        """Compile statements; a refused one is noted, and the next one tried."""
        for node in body:
            self.statement(node)

    def statement(self, node: ast.stmt) -> None:
        """Compile one statement."""
        mark = len(self._temporaries)
        outer, self.node = self.node, node
        try:
            handler = handler_of(STATEMENTS, type(node))
            if handler is None:
                raise self.unsupported(node)
            handler(self, node)
        except Rule as rule:
            self.diagnostics.append(
                self._diagnostic(node, rule.code, rule.message, rule.hint)
            )
            self._recover(node)
        except Refused as refused:
            self.diagnostics.append(refused.diagnostic)
            self._recover(node)
        except Follows:
            self._recover(node)
        finally:
            self.node = outer
            self._release(mark)

    def _release(self, mark: int) -> None:
        for slot in self._temporaries[mark:]:
            self._free.setdefault(slot.size, []).append(slot)
        del self._temporaries[mark:]

    def _recover(self, node: ast.stmt) -> None:
        # What the statement should have assigned is taken as assigned, so that one
        # fault is reported once; the blocks below a refused head are still checked.
        self.flow = self.flow._replace(held=frozenset())
        for name in stored_names([node]):
            variable = self.frame.variables.setdefault(name, Variable(name))
            if variable.template is None:
                variable.broken = True
            self.flow = self.flow.assign(variable)
        if isinstance(node, ast.Return | ast.Break | ast.Continue):
            self.live = False
        if isinstance(node, ast.If | ast.While | ast.For | ast.With):
            loop = Loop(self.target("lost"), self.target("lost"), 0)
            self.frame.loops.append(loop)
            self.statements(node.body)
            self.statements(getattr(node, "orelse", []))
            self.frame.loops.pop()

    # Faults.

    def refuse(
        self,
        node: ast.expr | ast.stmt | ast.pattern,
        code: str,
        message: str,
        hint: str = "",
    ) -> Refused:
        """The exception that says `node` cannot be compiled; `code` is one of Reason."""
        return Refused(self._diagnostic(node, code, message, hint))

    def unsupported(self, node: ast.expr | ast.stmt | ast.pattern) -> Refused:
        """The exception for a construct that programs do not have."""
        message, hint = ADVICE.get(
            type(node), (f"{type(node).__name__} is not part of programs", "")
        )
        return self.refuse(node, Reason.CONSTRUCT, message, hint)

    def _diagnostic(
        self,
        node: ast.expr | ast.stmt | ast.pattern,
        code: str,
        message: str,
        hint: str,
    ) -> Diagnostic:
        source = self.frame.source
        span = source.span(node)
        line = source.line(span.line)
        # A statement of many lines is shown by its first.
        one_line = span.end_line == span.line
        return Diagnostic(
            code,
            message,
            filename=span.file,
            line=span.line,
            column=span.column,
            end_line=span.line,
            end_column=span.end_column if one_line else len(line.rstrip()) + 1,
            text=line + "\n",
            hint=hint or usual(code),
        )


def later(module: str) -> None:
    """Import a module that lowers what few programs have: it registers that."""
    __import__(f"beewire.bpf.lang.{module}")


def handler_of(handlers: dict[K, H], construct: K) -> H | None:
    """What lowers a construct; None where nothing does."""
    if construct not in handlers and construct in LATE:
        later(LATE[construct])
    return handlers.get(construct)


def lowers(
    node_type: type[N],
) -> Callable[[Callable[[Builder, N], Value]], Callable[[Builder, N], Value]]:
    """Register the handler of an expression."""
    return _into(EXPRESSIONS, node_type)


def compiles(
    node_type: type[N],
) -> Callable[[Callable[[Builder, N], None]], Callable[[Builder, N], None]]:
    """Register the handler of a statement."""
    return _into(STATEMENTS, node_type)


def _into(handlers: dict[type[ast.AST], Any], node_type: type[N]) -> Callable[[H], H]:
    def register(handler: H) -> H:
        handlers[node_type] = handler
        return handler

    return register
