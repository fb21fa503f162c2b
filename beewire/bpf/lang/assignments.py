"""`=`, `+=` and `del`: to names, fields, elements, the context and maps."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.annotations import integer_type
from beewire.bpf.lang.attributes import (
    context_member,
    field,
    present,
    words_index,
)
from beewire.bpf.lang.builder import Builder, compiles
from beewire.bpf.lang.byte_order import check_order
from beewire.bpf.lang.contexts import Member, Tracepoint
from beewire.bpf.lang.decl import GlobalDecl, MapDecl, PerCpuDecl
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.ints import arithmetic, check_literal
from beewire.bpf.lang.kernel_reads import kernel_place
from beewire.bpf.lang.maps.common import table_of
from beewire.bpf.lang.maps.keyed import add_item, assign_item, delete_item
from beewire.bpf.lang.memory import element, load, snapshot, store
from beewire.bpf.lang.operators import combine, operand, symbol_of
from beewire.bpf.lang.packets import is_read_only
from beewire.bpf.lang.prototypes import caller
from beewire.bpf.lang.structs import Composite
from beewire.bpf.lang.types import IntType, array, chars
from beewire.bpf.lang.values import (
    Content,
    ContextValue,
    ContextWords,
    Fields,
    Int,
    KernelMemory,
    Literal,
    Memory,
    Pointer,
    Static,
    Tuple,
    Value,
)
from beewire.bpf.lang.variables import (
    assign,
    declare,
    global_memory,
    static_object,
)
from beewire.reasons import Reason

_ATOMIC: dict[str, ir.AtomicOp] = {
    "+": ir.AtomicOp.ADD,
    "-": ir.AtomicOp.ADD,
    "&": ir.AtomicOp.AND,
    "|": ir.AtomicOp.OR,
    "^": ir.AtomicOp.XOR,
}


class Word:
    """A writable integer of the context."""

    __slots__ = ("offset", "op", "type")

    def __init__(self, op: ir.Op, offset: int, type: IntType) -> None:  # noqa: A002
        self.op = op
        self.offset = offset
        self.type = type


@compiles(ast.Assign)
def assign_statement(b: Builder, node: ast.Assign) -> None:
    """`a = b`, `a.b = c`, `a[b] = c`, `a, b = c, d`."""
    first = node.targets[0]
    if len(node.targets) == 1 and isinstance(first, ast.Subscript):
        decl = table_of(b, first.value)
        if decl is not None:
            assign_item(b, decl, first.slice, node.value)
            return
    value = b.deferred(node.value)
    if len(node.targets) > 1 and not isinstance(value, Int | Literal):
        message = "only integers are assigned to several names at once"
        raise b.refuse(node, Reason.CONSTRUCT, message, "write one assignment for each")
    for target in node.targets:
        assign_to(b, target, value, node.value)


def assign_to(b: Builder, target: ast.expr, value: Value, origin: ast.expr) -> None:
    """Assign `value`, made by `origin`, to what `target` names."""
    if isinstance(target, ast.Tuple | ast.List):
        _unpack(b, target, value, origin)
        return
    if isinstance(target, ast.Name):
        place = None
    else:
        if isinstance(value, Pointer):
            present(b, value, origin)
        place = _place(b, target)
    try:
        if isinstance(target, ast.Name):
            assign(b, target.id, _copied(value, origin))
        elif isinstance(place, Memory):
            store(b, place, value)
        elif isinstance(place, Word):
            _write_word(b, place, value)
        elif place is not None:
            _write_words(b, place, value)
    except Rule as rule:
        raise b.refuse(origin, rule.code, rule.message, rule.hint) from None


def _copied(value: Value, origin: ast.expr) -> Value:
    """A slice is a copy, as in Python, once it has a name."""
    is_slice = isinstance(origin, ast.Subscript) and isinstance(origin.slice, ast.Slice)
    if is_slice and isinstance(value, Memory) and not value.nullable:
        return Content(value.type, value)
    return value


def _place(b: Builder, target: ast.expr) -> Memory | Word | ContextWords:
    try:
        return writable(b, target)
    except Rule as rule:
        raise b.refuse(target, rule.code, rule.message, rule.hint) from None


@compiles(ast.AnnAssign)
def annotated(b: Builder, node: ast.AnnAssign) -> None:
    """`x: u32 = a`: the name narrows what it is given."""
    if not isinstance(node.target, ast.Name):
        hint = "leave it out: fields have their types"
        raise b.refuse(node.target, Reason.CONSTRUCT, "only names are annotated", hint)
    if node.value is not None and _makes_sequence(b, node.value):
        assign_to(b, node.target, b.deferred(node.value), node.value)
        return
    if _is_struct(b, node.annotation):
        _annotated_struct(b, node, node.target)
        return
    declare(b, node.target.id, integer_type(b, node.annotation))
    if node.value is not None:
        assign_to(b, node.target, b.deferred(node.value), node.value)


def _makes_sequence(b: Builder, node: ast.expr) -> bool:
    """`array(...)`, `chars(...)`: for checkers the name is a list, bytes or a str."""
    return isinstance(node, ast.Call) and static_object(b, node.func) in (array, chars)


def _annotated_struct(b: Builder, node: ast.AnnAssign, target: ast.Name) -> None:
    if node.value is None:
        raise b.refuse(
            node, Reason.CONSTRUCT, "a struct begins with a value", "x = Key()"
        )
    value = b.deferred(node.value)
    layout = static_object(b, node.annotation).__layout__
    if not isinstance(value, Fields | Memory) or value.type is not layout:
        message = f"{target.id!r} is declared {layout.name}; this is {value.describe()}"
        raise b.refuse(node.value, Reason.CHANGES_KIND, message)
    assign_to(b, target, value, node.value)


@compiles(ast.AugAssign)
def augmented(b: Builder, node: ast.AugAssign) -> None:
    """`a += b`; atomic where others may write `a` too."""
    symbol = symbol_of(node.op)
    if isinstance(node.target, ast.Name):
        name = ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target)
        old = b.integer(name, ordered=True)
        addend = b.integer(node.value, ordered=True)
        assign(b, node.target.id, combine(b, symbol, old, addend))
        return
    if isinstance(node.target, ast.Subscript):
        decl = table_of(b, node.target.value)
        if decl is not None:
            _add_to_item(b, node, decl, node.target, symbol)
            return
    place = writable(b, node.target)
    if isinstance(place, Memory):
        _change(b, node, place, symbol)
    elif isinstance(place, Word):
        old = b.load(place.op, place.offset, place.type, ir.Space.CTX)
        _write_word(b, place, combine(b, symbol, old, b.integer(node.value)))
    else:
        raise b.refuse(
            node,
            Reason.NO_ARITHMETIC,
            "an array is changed by its elements",
            "a[0] += ...",
        )


@compiles(ast.Delete)
def delete(b: Builder, node: ast.Delete) -> None:
    """`del table[key]`."""
    for target in node.targets:
        if isinstance(target, ast.Subscript):
            decl = table_of(b, target.value)
            if decl is not None:
                delete_item(b, decl, target.slice)
                continue
        raise b.refuse(
            target, Reason.CONSTRUCT, "'del' takes an entry of a map", "del table[key]"
        )


def writable(b: Builder, node: ast.expr) -> Memory | Word | ContextWords:
    """The place that an assignment names.

    Raises:
        Refused: It is no place, or read-only.
    """
    place = _place_of(b, node)
    if is_read_only(b, place):
        message = f"{ast.unparse(node)!r} is read-only: it is in the packet"
        assert b.program is not None
        hint = f"{caller(*b.program)} programs read packets only"
        raise b.refuse(node, Reason.READ_ONLY, message, hint)
    return place


def _place_of(b: Builder, node: ast.expr) -> Memory | Word | ContextWords:
    if isinstance(node, ast.Attribute):
        base = b.expr(node.value)
        if isinstance(base, Pointer):
            present(b, base, node.value)
        return _field_place(b, node, base)
    if isinstance(node, ast.Subscript):
        base = b.expr(node.value)
        if isinstance(base, Pointer):
            present(b, base, node.value)
        if isinstance(base, Static) and isinstance(base.obj, MapDecl):
            message = "an entry of a map is assigned by a statement of its own"
            raise b.refuse(
                node, Reason.CONSTRUCT, message, f"{ast.unparse(node)} = ..."
            )
        if isinstance(node.slice, ast.Slice) and isinstance(base, Memory):
            from beewire.bpf.lang.sequences import part_of  # noqa: PLC0415 - where there are any

            return part_of(b, base, node.slice)
        index = b.integer(node.slice)
        if isinstance(base, Memory):
            return element(b, base, index)
        if isinstance(base, ContextWords):
            return _word(b, node, base, words_index(base, index))
        raise b.refuse(
            node, Reason.NOT_ASSIGNABLE, f"{base.describe()} has no elements to assign"
        )
    hint = "assign to a name, a field or an element"
    raise b.refuse(node, Reason.NOT_ASSIGNABLE, "this cannot be assigned to", hint)


def _field_place(
    b: Builder, node: ast.Attribute, base: Value
) -> Memory | Word | ContextWords:
    match base:
        case Static() if isinstance(base.obj, GlobalDecl):
            return field(b, global_memory(base.obj), node.attr)
        case Static() if isinstance(base.obj, PerCpuDecl) and node.attr == "value":
            from beewire.bpf.lang.exits import running_cpu  # noqa: PLC0415 - few need it

            return running_cpu(b, base.obj)
        case Memory():
            return field(b, base, node.attr)
        case ContextValue() if not issubclass(base.cls, Tracepoint):
            member = context_member(base.cls, node.attr)
            if isinstance(member, Member) and member.count:
                words = ContextWords(base.op, member, ir.Space.CTX)
                _word(b, node, words, 0)
                return words
            if isinstance(member, Member) and member.writable:
                assert isinstance(member.type, IntType)
                return Word(base.op, member.offset, member.type)
            raise _read_only(b, node)
        case KernelMemory() if base.typed:
            return kernel_place(b, base, node.attr)
        case Pointer():
            raise _read_only(b, node)
        case _:
            raise b.refuse(
                node,
                Reason.NOT_ASSIGNABLE,
                f"{base.describe()} has no fields to assign",
            )


def _read_only(b: Builder, node: ast.expr) -> Exception:
    text = ast.unparse(node)
    return b.refuse(
        node,
        Reason.READ_ONLY,
        f"{text!r} is read-only",
        "the kernel lets programs read it only",
    )


def _word(b: Builder, node: ast.expr, words: ContextWords, index: int) -> Word:
    member = words.member
    if not member.writable or words.space is not ir.Space.CTX:
        raise _read_only(b, node)
    assert isinstance(member.type, IntType)
    return Word(words.context, member.offset + index * member.type.size, member.type)


def _write_word(b: Builder, place: Word, value: Value) -> None:
    if not isinstance(value, Int | Literal):
        raise Rule(
            Reason.WRONG_KIND, f"{value.describe()} does not go into {place.type.name}"
        )
    if isinstance(value, Literal):
        check_literal(value.value, place.type)
    else:
        check_order(value.type, place.type)
    word = ir.Store(
        place.op, place.offset, place.type.size, b.op(value), space=ir.Space.CTX
    )
    b.emit(word)


def _write_words(b: Builder, words: ContextWords, value: Value) -> None:
    count = words.member.count
    if isinstance(value, Tuple) and len(value.items) == count:
        items = list(value.items)
    elif isinstance(value, Memory):
        items = [load(b, element(b, value, Literal(i))) for i in range(count)]
    else:
        raise Rule(
            Reason.WRONG_KIND, f"{value.describe()} does not go into {words.describe()}"
        )
    kind = words.member.type
    assert isinstance(kind, IntType)
    for index, item in enumerate(items):
        offset = words.member.offset + index * kind.size
        _write_word(b, Word(words.context, offset, kind), item)


def _unpack(
    b: Builder, target: ast.Tuple | ast.List, value: Value, origin: ast.expr
) -> None:
    if not isinstance(value, Tuple):
        message = f"{value.describe()} cannot be taken apart"
        raise b.refuse(
            origin, Reason.UNPACKING, message, "write the values out: a, b = x, y"
        )
    if len(value.items) != len(target.elts):
        message = f"{len(target.elts)} names for {len(value.items)} values"
        raise b.refuse(target, Reason.UNPACKING, message)
    nodes = origin.elts if isinstance(origin, ast.Tuple | ast.List) else []
    # Read before any of them is written.
    items = [snapshot(b, item) for item in value.items]
    for i, (part, item) in enumerate(zip(target.elts, items, strict=True)):
        assign_to(b, part, item, nodes[i] if nodes else origin)


def _is_struct(b: Builder, node: ast.expr) -> bool:
    try:
        found = static_object(b, node)
    except Rule as rule:
        raise b.refuse(node, rule.code, rule.message, rule.hint) from None
    return isinstance(found, type) and issubclass(found, Composite)


def _change(b: Builder, node: ast.AugAssign, place: Memory, symbol: str) -> None:
    kind = place.type
    if not isinstance(kind, IntType):
        raise b.refuse(
            node.target,
            Reason.NO_ARITHMETIC,
            f"{place.describe()} cannot be calculated with",
        )
    if not place.shared:
        old = load(b, place)
        assert isinstance(old, Int)
        addend = b.integer(node.value, ordered=True)
        store(b, place, combine(b, symbol, old, addend))
        return
    if symbol not in _ATOMIC:
        text = ast.unparse(node.target)
        raise b.refuse(
            node,
            Reason.NOT_ATOMIC,
            f"'{symbol}=' of shared memory is not atomic",
            f"write {text} = {text} {symbol} ... if that is meant",
        )
    value = b.integer(node.value, ordered=True)
    arithmetic(symbol, kind, operand(value))
    if isinstance(value, Literal) and not kind.is_big_endian:
        check_literal(abs(value.value), kind)
    from beewire.bpf.lang.atomics import atomic  # noqa: PLC0415 - where there are any

    atomic(b, _ATOMIC[symbol], place, _negated(b, symbol, value))


def _negated(b: Builder, symbol: str, value: Int | Literal) -> ir.Op:
    if symbol != "-":
        return b.op(value)
    if isinstance(value, Literal):
        return ir.Const(-value.value)
    return b.binary(ir.BinOp.SUB, ir.Const(0), value.op)


def _add_to_item(
    b: Builder, node: ast.AugAssign, decl: MapDecl, target: ast.Subscript, symbol: str
) -> None:
    if symbol != "+":
        key = ast.unparse(target.slice)
        raise b.refuse(
            node,
            Reason.NOT_ATOMIC,
            f"'{symbol}=' of a map's entry is not part of programs",
            f"look it up: if (x := {decl.name}.lookup({key})) is not None: x.value {symbol}= ...",
        )
    add_item(b, decl, target.slice, node.value)
