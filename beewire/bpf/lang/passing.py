"""How a value gets into a subprogram: in a register, or known when it is compiled."""

from beewire.bpf import ir
from beewire.bpf.lang.annotations import Several, Wanted
from beewire.bpf.lang.bodies import Given, typed
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.memory import kernel_address
from beewire.bpf.lang.structs import StructType
from beewire.bpf.lang.types import IntType
from beewire.bpf.lang.values import (
    ContextValue,
    Int,
    KernelMemory,
    Literal,
    Memory,
    Nothing,
    Pointer,
    Static,
    Value,
)
from beewire.hints import Any
from beewire.reasons import Reason
from beewire.rows import Row

MAX_ARGUMENTS = 5  # r1 to r5
# What a value is while nothing has computed it.
UNKNOWN = ir.Const(0)


# What of a pointer is its caller's affair.
_HERE = frozenset(("op", "flag", "fresh", "owns", "references"))


class Passed(Row):
    """One argument of a subprogram.

    `key` says what kinds of values share a subprogram. `op` is the caller's operand, None
    for what is in no register: then `template` is the value itself. In its place a
    `boxed` one has the address of two words: whether a callback ended the program, and it.
    """

    name: str
    asked: Wanted | None  # None: the function does not see it
    template: Value
    op: ir.Op | None
    key: tuple[Any, ...]
    boxed: bool = False

    @property
    def kind(self) -> ir.Kind:
        """What the parameter is to the kernel."""
        is_address = self.boxed or isinstance(self.template, Pointer)
        return ir.Kind.PTR if is_address else ir.Kind.INT

    def arrived(self, op: ir.Op) -> Value:
        """What the callee sees, `op` being its parameter."""
        return renewed(self.template, op)


def renewed(template: Value, op: ir.Op) -> Value:
    """A value of the kind of `template`, computed by `op`."""
    if isinstance(template, Int):
        return Int(op, template.type)
    assert isinstance(template, Pointer)
    return template.at(op)


def passes(returned: Wanted, given: list[Given]) -> bool:
    """Whether arguments of these kinds can be passed to a subprogram at all."""
    count = int(isinstance(returned.type, Several | StructType))
    for each in given:
        if isinstance(each.value, Literal | Int | Pointer):
            count += 1
        elif not isinstance(each.value, Nothing | Static):
            return False
    return count <= MAX_ARGUMENTS


def pass_value(b: Builder, given: Given, *, is_global: bool) -> Passed:
    """Put an argument where a subprogram finds it.

    Raises:
        Rule: A subprogram cannot take it.
    """
    if is_global:
        return _to_global(b, given)
    name, asked, value, _ = given
    if isinstance(value, Int | Literal):
        return _number(b, name, asked, value)
    if isinstance(value, Pointer):
        template, op = pointer(b, value)
        return Passed(name, asked, template, op, (name, *facts(template)))
    if isinstance(value, Nothing):
        return Passed(name, asked, value, None, (name, "None"))
    if isinstance(value, Static):
        return Passed(name, asked, value, None, (name, _Same(value.obj)))
    raise Rule(
        Reason.SUBPROGRAM,
        f"a subprogram cannot take {value.describe()}",
        "mark the function @inline",
    )


class _Same:
    """Equal to itself only; keeps the object that it stands for alive."""

    __slots__ = ("obj",)

    def __init__(self, obj: object) -> None:
        self.obj = obj

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.obj is self.obj

    def __hash__(self) -> int:
        return id(self.obj)


def _number(b: Builder, name: str, asked: Wanted, value: Int | Literal) -> Passed:
    if isinstance(asked.type, IntType):
        number = typed(b, value, asked.type)
    elif isinstance(value, Int):
        number = value
    else:
        return Passed(name, asked, value, None, (name, "number", value.value))
    template = Int(UNKNOWN, number.type)
    return Passed(name, asked, template, number.op, (name, number.type))


def pointer(b: Builder, value: Pointer) -> tuple[Pointer, ir.Op]:
    """A pointer as its callee sees it, and the register with the address.

    Raises:
        Rule: The kernel could not check what the callee does with it.
    """
    if isinstance(value, KernelMemory):
        return KernelMemory(UNKNOWN, value.kernel, value.kernel), kernel_address(
            b, value
        )
    if not isinstance(value, Memory):
        return value.at(UNKNOWN), value.op
    # To the callee the stack is no frame of its own.
    template = value.lent_at(UNKNOWN) if value.on_stack else value.at(UNKNOWN)
    return template, b.address(value)


def facts(template: Pointer) -> tuple[Any, ...]:
    """What tells one kind of pointers from another."""
    slots = [
        slot
        for cls in type(template).__mro__
        for slot in cls.__dict__.get("__slots__", ())
        if slot not in _HERE
    ]
    return type(template), *[getattr(template, slot) for slot in slots]


def _to_global(b: Builder, given: Given) -> Passed:
    """The kernel verifies a global function by what its signature says, no more."""
    name, asked, value, _ = given
    if isinstance(asked.type, IntType) and isinstance(value, Int | Literal):
        return _number(b, name, asked, value)
    if isinstance(value, ContextValue):
        template: Pointer = value.at(UNKNOWN)
        return Passed(name, asked, template, value.op, (name, *facts(template)))
    if isinstance(asked.type, StructType) and isinstance(value, Memory | Nothing):
        # It may be the caller's stack, or a map's value that others write too.
        template = Memory(
            UNKNOWN, 0, asked.type, ir.Space.MEM, nullable=asked.nullable, shared=True
        )
        op = ir.Const(0) if isinstance(value, Nothing) else pointer(b, value)[1]
        return Passed(name, asked, template, op, (name, *facts(template)))
    raise Rule(
        Reason.SUBPROGRAM,
        f"a global function cannot take {value.describe()}",
        "it takes integers of a width, the context and references to structs; "
        "a static one, @subprogram, takes more",
    )
