"""Values in memory: loading, storing, making structs, reaching into arrays."""

from beewire.bpf import ir
from beewire.bpf.lang.builder import FINISH, Builder
from beewire.bpf.lang.byte_order import check_order
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.ints import check_literal
from beewire.bpf.lang.layout import BitsType, Field
from beewire.bpf.lang.packets import checked
from beewire.bpf.lang.structs import StructType
from beewire.bpf.lang.types import (
    NETWORK,
    U8,
    ArrayType,
    BigEndianType,
    CharsType,
    IntType,
    ValueType,
    swap,
)
from beewire.bpf.lang.values import (
    Comm,
    Content,
    ContextWords,
    Fields,
    Int,
    KernelField,
    KernelMemory,
    Literal,
    Memory,
    Static,
    TextAt,
    Tuple,
    Value,
)
from beewire.bpf.lang.words import load_integer, store_integer
from beewire.reasons import Reason

GET_CURRENT_COMM = 16
PROBE_READ_KERNEL = 113


def kernel_address(b: Builder, value: KernelMemory) -> ir.Op:
    """Where a kernel struct lies, be it inside another: the kernel says where there."""
    if not value.path:
        return value.op
    from beewire.bpf.lang.kernel_types import core_field  # noqa: PLC0415 - rare

    return b.emit(ir.FieldAddress(value.op, core_field(value.root, value.path)))


def load(b: Builder, place: Memory) -> Value:
    """What `place` holds: an Int; aggregates stay where they are."""
    if not isinstance(place.type, IntType):
        return place
    return load_integer(b, place)


def store(b: Builder, place: Memory, value: Value) -> None:
    """Put `value` at `place`.

    Raises:
        Rule: It is of another type, or does not fit; or the place is read-only.
    """
    check_writable(place)
    match place.type:
        case IntType():
            _store_integer(b, place, value)
        case StructType():
            _store_struct(b, place, value)
        case CharsType() | ArrayType():
            _store_sequence(b, place, value)
        case _:
            raise Rule(Reason.WRONG_KIND, f"{place.type.name} cannot be assigned")


def check_writable(place: Memory) -> None:
    """Refuse to write to a constant.

    Raises:
        Rule: It is one.
    """
    if place.read_only:
        raise Rule(
            Reason.READ_ONLY,
            "programs cannot change a constant",
            "declare it as Global, or set it when it is loaded: load(..., globals=...)",
        )


def temporary(b: Builder, type_: ValueType, name: str = "tmp") -> Memory:
    """Stack memory for a value, until the statement ends."""
    return Memory(b.temporary(name, type_.size), 0, type_, ir.Space.STACK)


def in_memory(b: Builder, value: Value, type_: ValueType, name: str) -> ir.Op:
    """The address of `value` in memory, for a helper: its own, or a copy's.

    Raises:
        Rule: It is of another type, or does not fit.
    """
    if isinstance(value, Memory) and value.type is type_ and not _is_integer(value):
        return b.address(value)
    place = temporary(b, type_, name)
    store(b, place, value)
    return place.op


def element(
    b: Builder,
    place: Memory,
    index: Int | Literal,
    room: int = 1,
    *,
    sure: bool = False,
) -> Memory:
    """`place[index]` of an array or text, with `room` for so many elements.

    A constant index is checked here. One that varies, unless it is `sure` to be right, ends
    the program where it is past the end: the kernel sees memory as a whole, and would let
    it reach the next field.

    Raises:
        Rule: It is no array, or the index is past its end.
    """
    kind = place.type
    if isinstance(kind, CharsType):
        item: ValueType = U8
    elif isinstance(kind, ArrayType):
        item = kind.element
    else:
        raise Rule(Reason.NO_ELEMENTS, f"{place.describe()} has no elements")
    known = known_number(index)
    if known is not None:
        return place.part(constant_index(known, kind.count) * item.size, item)
    assert isinstance(index, Int)
    if not sure:
        from beewire.bpf.lang.exits import bound  # noqa: PLC0415 - where indices vary

        bound(b, index, kind.count - room + 1)
    step = item.size
    offset = index.op
    if step & (step - 1) == 0:
        if step > 1:
            shift = ir.Const(step.bit_length() - 1)
            offset = b.binary(ir.BinOp.SHL, offset, shift)
    else:
        offset = b.binary(ir.BinOp.MUL, offset, ir.Const(step))
    base = b.binary(ir.BinOp.ADD, place.op, offset)
    if place.space is ir.Space.PACKET:
        base = checked(b, place, base, index.op, item.size)
    return place.element(base, item).part(place.offset, item)


def known_number(value: Int | Literal) -> int | None:
    """A literal, or the constant that an inlined function was called with."""
    if isinstance(value, Literal):
        return value.value
    return value.op.value if isinstance(value.op, ir.Const) else None


def constant_index(index: int, count: int) -> int:
    """`index`, counted from the end when negative.

    Raises:
        Rule: There is no such element.
    """
    if not -count <= index < count:
        raise Rule(
            Reason.INDEX,
            f"index {index} is past the end",
            f"there are {count} elements",
        )
    return index % count


def read_kernel(b: Builder, field: KernelField) -> Value:
    """A field of a kernel struct; texts and arrays stay unread."""
    if not isinstance(field.type, IntType):
        return field
    place = temporary(b, field.type, "field")
    _read_into(b, place, field)
    return load(b, place)


def make_struct(b: Builder, fields: Fields) -> Memory:
    """A struct on the stack until the statement ends."""
    place = temporary(b, fields.type, fields.type.name)
    init_struct(b, place, fields)
    return place


def init_struct(b: Builder, place: Memory, fields: Fields) -> None:
    """Write all of a struct: the fields given, and zeros elsewhere, padding included."""
    given = {
        name: value
        for name, value in _with_defaults(fields).items()
        if not (isinstance(value, Literal) and value.value == 0)
    }
    layout = fields.type
    end = 0
    for start, stop in sorted(_whole(layout.fields[name]) for name in given):
        _zero(b, place, end, start)
        end = max(end, stop)
    _zero(b, place, end, layout.size)
    for name, value in given.items():
        field = layout.fields[name]
        try:
            store(b, place.part(field.offset, field.type), value)
        except Rule as rule:
            message = f"{layout.name}.{name}: {rule.message}"
            raise Rule(rule.code, message, rule.hint) from None


def _whole(field: Field) -> tuple[int, int]:
    """The bytes that storing a field writes whatever they were: none of a bit-field."""
    length = 0 if isinstance(field.type, BitsType) else field.type.size
    return field.offset, field.offset + length


def snapshot(b: Builder, value: Value) -> Value:
    """`value` as it is now: what it refers to may change before it is stored."""
    if isinstance(value, Fields):
        items = {name: snapshot(b, item) for name, item in value.items.items()}
        return Fields(value.type, items)
    if not isinstance(value, Memory) or value.nullable or _is_integer(value):
        return value
    if value.unnamed:
        return value  # nobody else knows it
    kept = temporary(b, value.type)
    store(b, kept, value)
    return kept


def store_bytes(b: Builder, place: Memory, raw: bytes) -> None:
    """Write constant bytes, in words as wide as one instruction writes."""
    offset = 0
    while offset < len(raw):
        size = _word(place.align_at(offset), len(raw) - offset)
        value = int.from_bytes(raw[offset : offset + size], "little")
        if size == 8 and not -(1 << 31) <= _signed_64(value) < 1 << 31:
            size = 4
            value &= 0xFFFF_FFFF
        word = ir.Store(
            place.op,
            place.offset + offset,
            size,
            ir.Const(value),
            space=place.space,
        )
        b.emit(word)
        offset += size


def _signed_64(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _word(align: int, left: int) -> int:
    while align > left:
        align //= 2
    return align


def _is_integer(place: Memory) -> bool:
    return isinstance(place.type, IntType)


def _with_defaults(fields: Fields) -> dict[str, Value]:
    values = dict(fields.items)
    for name, field in fields.type.fields.items():
        if name not in values and field.default is not None:
            values[name] = _default(field)
    return values


def _default(field: Field) -> Value:
    default = field.default
    if not isinstance(default, int):
        return Static(default)
    kind = field.type
    if isinstance(kind, BigEndianType):
        # It is declared as user space sees it.
        return Literal(NETWORK[kind.bits](swap(default, kind.bits)))
    return Literal(default)


def _zero(b: Builder, place: Memory, start: int, end: int) -> None:
    # Word by word where the range starts unaligned: `align` holds for the whole range.
    while start < end:
        align = place.align_at(start)
        stop = end if align == 8 else min(end, start + align)
        # A range that ends within a word is the back end's to split.
        b.emit(
            ir.Zero(
                place.op,
                place.offset + start,
                stop - start,
                align=align,
                space=place.space,
            )
        )
        start = stop


def _store_integer(b: Builder, place: Memory, value: Value) -> None:
    kind = place.type
    assert isinstance(kind, IntType)
    if isinstance(value, KernelField) and isinstance(value.type, IntType):
        if value.type.size == kind.size and not (
            kind.is_bool or isinstance(kind, BitsType)
        ):
            check_order(value.type, kind)
            _read_into(b, place, value)
            return
        value = read_kernel(b, value)
    if not isinstance(value, Int | Literal):
        raise Rule(
            Reason.WRONG_KIND,
            f"{value.describe()} does not go into {kind.name}",
            _value_hint(value),
        )
    if isinstance(value, Literal):
        check_literal(value.value, kind)
    else:
        check_order(value.type, kind)
    if kind.is_bool and isinstance(value, Int):
        value = b.narrow(value, kind)
    store_integer(b, place, b.op(value))


def _value_hint(value: Value) -> str:
    if isinstance(value, Memory) and isinstance(value.type, IntType):
        return "read what it refers to: add .value"
    return ""


def _store_struct(b: Builder, place: Memory, value: Value) -> None:
    if isinstance(value, Fields) and value.type is place.type:
        if any(_overlaps(place, item) for item in value.items.values()):
            value = make_struct(b, value)
        else:
            init_struct(b, place, value)
            return
    if isinstance(value, Memory) and value.type is place.type:
        _copy(b, place, value)
        return
    raise Rule(
        Reason.WRONG_KIND, f"{value.describe()} does not go into {place.type.name}"
    )


def _overlaps(place: Memory, value: Value) -> bool:
    if isinstance(value, Fields):
        return any(_overlaps(place, item) for item in value.items.values())
    return (
        isinstance(value, Memory)
        and value.space is place.space
        and not _is_integer(value)
    )


def _copy(b: Builder, place: Memory, source: Memory) -> None:
    align = min(place.type.align, place.align_at(0), source.align_at(0))
    b.emit(
        ir.Copy(
            place.op,
            place.offset,
            source.op,
            source.offset,
            place.type.size,
            align=align,
            dst_space=place.space,
            src_space=source.space,
        )
    )


def _store_sequence(b: Builder, place: Memory, value: Value) -> None:
    kind = place.type
    match value:
        case Content() if value.type is kind:
            if value.value is None:
                _zero(b, place, 0, kind.size)
            else:
                store(b, place, value.value)
        case Memory() if _same_shape(value.type, kind):
            _copy(b, place, value)
        case KernelField() if value.type.name == kind.name:
            _read_into(b, place, value)
        case Static(obj=str() | bytes() as raw):
            store_bytes(b, place, _constant(kind, raw))
        case TextAt() if isinstance(kind, CharsType):
            b.call(value.helper, b.address(place), ir.Const(kind.size), value.address)
        case Comm() if isinstance(kind, CharsType):
            b.call(GET_CURRENT_COMM, b.address(place), ir.Const(kind.size))
        case Tuple() if isinstance(kind, ArrayType):
            _store_elements(b, place, kind, value)
        case ContextWords() if isinstance(kind, ArrayType):
            _store_words(b, place, kind, value)
        case _:
            raise Rule(
                Reason.WRONG_KIND, f"{value.describe()} does not go into {kind.name}"
            )


def _same_shape(a: ValueType, b: ValueType) -> bool:
    """Whether the bytes of one are a value of the other: texts may be bytes, too."""
    return a is b or (a.size == b.size and _is_bytes(a) and _is_bytes(b))


def _is_bytes(kind: ValueType) -> bool:
    return isinstance(kind, CharsType) or (
        isinstance(kind, ArrayType) and kind.element is U8
    )


def _constant(kind: ValueType, text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    if not _is_bytes(kind):
        raise Rule(Reason.WRONG_KIND, f"the text {text!r} does not go into {kind.name}")
    if len(raw) > kind.size:
        raise Rule(Reason.LENGTH, f"{text!r} is longer than {kind.size} bytes")
    return raw.ljust(kind.size, b"\0")


def _store_elements(b: Builder, place: Memory, kind: ArrayType, items: Tuple) -> None:
    if len(items.items) != kind.count:
        raise Rule(
            Reason.LENGTH,
            f"{kind.name} takes {kind.count} elements, not {len(items.items)}",
        )
    values = items.items
    if any(_overlaps(place, item) for item in values):
        values = tuple(snapshot(b, item) for item in values)
    for index, item in enumerate(values):
        store(b, place.part(index * kind.element.size, kind.element), item)


def _store_words(
    b: Builder, place: Memory, kind: ArrayType, words: ContextWords
) -> None:
    member = words.member
    if kind.count != member.count or kind.element.size != member.type.size:
        raise Rule(
            Reason.WRONG_KIND,
            f"{words.describe()} does not go into {kind.name}",
            f"it has {member.count} elements of {member.type.name}",
        )
    for index in range(member.count):
        word = load_word(b, words, index)
        store(b, place.part(index * kind.element.size, kind.element), word)


def load_word(b: Builder, words: ContextWords, index: int) -> Int:
    """Element `index` of an array of the context."""
    kind = words.member.type
    assert isinstance(kind, IntType)
    offset = words.member.offset + index * kind.size
    return b.load(words.context, offset, kind, words.space)


def _read_into(b: Builder, place: Memory, field: KernelField) -> None:
    size = ir.Const(field.type.size)
    b.call(PROBE_READ_KERNEL, b.address(place), size, field.address)


FINISH[KernelField] = read_kernel


def make_sequence(b: Builder, content: Content) -> Memory:
    """A text or an array on the stack until the statement ends."""
    place = temporary(b, content.type)
    store(b, place, content)
    return place


FINISH[Fields] = make_struct
FINISH[Content] = make_sequence
