"""CO-RE: what the records of an object mean on a kernel, given that kernel's BTF.

A record names a local type, a path into it and a question: at which byte, of what size,
is it there at all? The answer is looked up in the types of the kernel by names.
"""

from beewire.bpf.btf.compat import (
    essential_name,
    fields_compatible,
    same_name,
    types_compatible,
    types_match,
)
from beewire.bpf.btf.index import Index
from beewire.bpf.btf.structure import size_of, strip
from beewire.bpf.btf.types import (
    Array,
    Composite,
    Enum,
    Float,
    Fwd,
    Int,
    Kind,
    Member,
    Ptr,
    Struct,
    Type,
    Typedef,
    Union,
)
from beewire.enums import WireEnum
from beewire.errors import SpecError
from beewire.hints import Callable, Iterable, Iterator
from beewire.rows import Row


class CoreKind(WireEnum):
    """`enum bpf_core_relo_kind`: the question that a record asks."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT_U64 = 4
    FIELD_RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


class Answer(Row):
    """What goes into the instruction; `value` None: nothing, it must not be reached.

    For the offset of a field that is no bit-field, `local_size` and `size` tell how many
    bytes it has in the object and in the kernel. Where they differ and a load could not
    follow, because a sign would get lost, `resizes` is false.
    """

    value: int | None
    local_size: int = 0
    size: int = 0
    resizes: bool = True


_MISSING = Answer(None)
_TYPE_KINDS = (
    CoreKind.TYPE_ID_TARGET,
    CoreKind.TYPE_EXISTS,
    CoreKind.TYPE_SIZE,
    CoreKind.TYPE_MATCHES,
)
_ENUM_KINDS = (CoreKind.ENUMVAL_EXISTS, CoreKind.ENUMVAL_VALUE)
_CLASSES: tuple[type[Type], ...] = (Struct, Union, Enum, Typedef, Int, Float, Fwd)
_ENUM_NUMBERS = (Kind.ENUM, Kind.ENUM64)
_MAX_DEPTH = 64  # BPF_CORE_SPEC_MAX_LEN


# The types of modules that may have a type of this name.
Modules = Callable[[str], Iterable[Index]]


def _no_modules(_name: str) -> Iterable[Index]:
    return ()


class _Field(Row):
    """Where a path has led: `member` of `inside`, or an element of `type` in an array."""

    bit_offset: int
    type: Type | None
    inside: Composite | None = None
    member: Member | None = None


class Resolver:
    """Answers records against one Index; what it found once it knows.

    `id_of` gives the ids of the object's own types, for TYPE_ID_LOCAL. Types of a name
    that `index` has not are looked for in `modules(name)`.
    """

    __slots__ = ("_candidates", "_id_of", "_index", "_modules")

    def __init__(
        self, index: Index, id_of: Callable[[Type], int], modules: Modules = _no_modules
    ) -> None:
        self._index = index
        self._id_of = id_of
        self._modules = modules
        self._candidates: dict[Type, list[tuple[int, Type]]] = {}

    def answer(self, root: Type, access: str, kind: int) -> Answer:
        """Answer one record.

        Raises:
            SpecError: there is no such question or path, or the kernel has types of one
                name that give different answers.
        """
        try:
            question = CoreKind(kind)
        except ValueError:
            raise SpecError(f"there are no CO-RE records of kind {kind}") from None
        path = _path(access)
        if question is CoreKind.TYPE_ID_LOCAL:
            return Answer(self._id_of(root))
        found = self._candidates.get(root)
        if found is None:
            found = self._candidates[root] = self._search(root)
        if question in _TYPE_KINDS:
            return _agreed(root, _about_types(root, found, question), Answer(0))
        if question in _ENUM_KINDS:
            missing = Answer(0) if question is CoreKind.ENUMVAL_EXISTS else _MISSING
            answers = _about_enums(root, path, found, question)
            return _agreed(root, answers, missing)
        missing = Answer(0) if question is CoreKind.FIELD_EXISTS else _MISSING
        return _agreed(root, _about_fields(root, path, found, question), missing)

    def _search(self, root: Type) -> list[tuple[int, Type]]:
        name = essential_name(root.name)
        if not name or not isinstance(root, _CLASSES):
            raise SpecError(f"CO-RE finds types by name, and {root!r} cannot be found")
        kinds = _ENUM_NUMBERS if isinstance(root, Enum) else (root.kind,)
        found = list(_named(self._index, name, kinds))
        if not found:
            for index in self._modules(name):
                found += _named(index, name, kinds)
        return found


def _named(
    index: Index, name: str, kinds: tuple[Kind, ...]
) -> Iterator[tuple[int, Type]]:
    for type_id in index.flavours(name, kinds):
        node = index.type(type_id)
        if node is not None and essential_name(node.name) == name:
            yield type_id, node


def _path(access: str) -> list[int]:
    try:
        path = [int(part) for part in access.split(":")]
    except ValueError:
        path = []
    if not path or min(path) < 0 or len(path) > _MAX_DEPTH:
        raise SpecError(f"{access!r} is no path of a CO-RE record")
    return path


def _agreed(root: Type, answers: Iterator[Answer], missing: Answer) -> Answer:
    """The one answer of all candidates, or `missing` where none fits."""
    found: Answer | None = None
    for each in answers:
        if found is not None and found != each:
            raise SpecError(
                f"the kernel has several types {essential_name(root.name)!r} that differ "
                "in what a CO-RE record asks"
            )
        found = each
    return missing if found is None else found


# --- types and enums ---


def _about_types(
    root: Type, candidates: list[tuple[int, Type]], question: CoreKind
) -> Iterator[Answer]:
    fits = types_match if question is CoreKind.TYPE_MATCHES else types_compatible
    for type_id, node in candidates:
        if fits(root, node):
            if question is CoreKind.TYPE_ID_TARGET:
                yield Answer(type_id)
            elif question is CoreKind.TYPE_SIZE:
                yield Answer(size_of(node))
            else:
                yield Answer(1)


def _about_enums(
    root: Type,
    path: list[int],
    candidates: list[tuple[int, Type]],
    question: CoreKind,
) -> Iterator[Answer]:
    local = strip(root)
    if not isinstance(local, Enum) or len(path) != 1 or path[0] >= len(local.values):
        raise SpecError(f"{path} is no enumerator of {root!r}")
    name = essential_name(local.values[path[0]].name)
    for _, node in candidates:
        target = strip(node)
        for each in target.values if isinstance(target, Enum) else ():
            if same_name(name, each.name):
                exists = question is CoreKind.ENUMVAL_EXISTS
                yield Answer(1 if exists else each.value & (1 << 64) - 1)
                break


# --- fields ---


def _about_fields(
    root: Type,
    path: list[int],
    candidates: list[tuple[int, Type]],
    question: CoreKind,
) -> Iterator[Answer]:
    steps = _steps(root, path)
    mine = _follow(root, steps, check=False)
    if mine is None:
        raise SpecError(f"{path} is no path into {root!r}")
    for _, node in candidates:
        theirs = _follow(node, steps, check=True)
        if theirs is not None:
            yield _field_answer(question, mine, theirs)


class _Step(Row):
    """An element of an array by number, or a member of the local struct by name."""

    number: int
    member: Member | None = None


def _steps(root: Type, path: list[int]) -> list[_Step]:
    """The path by names: what is inside an anonymous member is found by its own."""
    steps = [_Step(path[0])]
    current: Type | None = root
    last: tuple[Composite, int] | None = None
    for number in path[1:]:
        current = strip(current)
        if isinstance(current, Composite) and number < len(current.members):
            member = current.members[number]
            if member.name:
                steps.append(_Step(number, member))
            last = current, number
            current = member.type
        elif isinstance(current, Array) and (
            number < current.count or _is_flexible(current, last)
        ):
            steps.append(_Step(number))
            last, current = None, current.element
        else:
            text = ":".join([str(part) for part in path])
            raise SpecError(f"{text!r} is no path into {root!r}")
    return steps


def _is_flexible(array: Array, place: tuple[Composite, int] | None) -> bool:
    """Whether it is the last member of a struct, of no length that is known."""
    if array.count or place is None:
        return False
    inside, number = place
    return number == len(inside.members) - 1


def _follow(root: Type, steps: list[_Step], *, check: bool) -> _Field | None:
    """Where the steps lead from `root`, or None; with `check`, by the rules for kernels."""
    at = _Field(steps[0].number * _size(root) * 8, root)
    for step in steps[1:]:
        inside = strip(at.type)
        found: _Field | None = None
        if step.member is not None:
            found = _member(inside, step.member, 0, check=check)
        elif isinstance(inside, Array):
            place = _place(at)
            if step.number < inside.count or _is_flexible(inside, place):
                bits = step.number * _size(inside.element) * 8
                found = _Field(bits, inside.element)
        if found is None:
            return None
        at = found._replace(bit_offset=at.bit_offset + found.bit_offset)
    return at


def _place(field: _Field) -> tuple[Composite, int] | None:
    if field.inside is None or field.member is None:
        return None
    return field.inside, field.inside.members.index(field.member)


def _member(
    inside: Type | None, wanted: Member, depth: int, *, check: bool
) -> _Field | None:
    """The member of this name, also inside anonymous members."""
    if depth > _MAX_DEPTH:
        raise SpecError("a struct is nested too deeply for CO-RE")
    if not isinstance(inside, Composite):
        return None
    for member in inside.members:
        if member.name == wanted.name:
            if check and not fields_compatible(wanted.type, member.type):
                return None
            return _Field(member.offset_bits, member.type, inside, member)
        if not member.name:
            found = _member(strip(member.type), wanted, depth + 1, check=check)
            if found is not None:
                return found._replace(bit_offset=member.offset_bits + found.bit_offset)
    return None


def _field_answer(question: CoreKind, mine: _Field, theirs: _Field) -> Answer:
    if question is CoreKind.FIELD_EXISTS:
        return Answer(1)
    if theirs.member is None and question not in (
        CoreKind.FIELD_BYTE_OFFSET,
        CoreKind.FIELD_BYTE_SIZE,
    ):
        raise SpecError("of an element of an array, CO-RE tells only place and size")
    byte_offset, byte_size, bits = _extent(theirs)
    node = strip(theirs.type)
    match question:
        case CoreKind.FIELD_BYTE_SIZE:
            return Answer(byte_size)
        case CoreKind.FIELD_SIGNED:
            return Answer(int(isinstance(node, Int | Enum) and node.signed))
        case CoreKind.FIELD_LSHIFT_U64:
            return Answer(64 - (theirs.bit_offset + bits - byte_offset * 8))
        case CoreKind.FIELD_RSHIFT_U64:
            return Answer(64 - bits)
        case _:
            if _bitfield(theirs) or _bitfield(mine):
                return Answer(byte_offset)
            size = _size(mine.type)
            return Answer(byte_offset, size, byte_size, _resizes(mine.type, node))


def _extent(field: _Field) -> tuple[int, int, int]:
    """First byte and number of bytes to load, and number of bits in them."""
    size, bits = _size(field.type), _bitfield(field)
    if not bits:
        return field.bit_offset // 8, size, size * 8
    size = size or 1
    start = field.bit_offset // 8 // size * size
    # The smallest load that holds all of it.
    while field.bit_offset + bits - start * 8 > size * 8:
        if size >= 8:
            raise SpecError("a bit-field that no single load can reach")
        size *= 2
        start = field.bit_offset // 8 // size * size
    return start, size, bits


def _bitfield(field: _Field) -> int:
    """The number of bits, or 0 where it is no bit-field."""
    return 0 if field.member is None else field.member.bitfield_bits


def _resizes(local: Type | None, target: Type | None) -> bool:
    """Whether a load may follow a field that has another size in the kernel."""
    local = strip(local)
    if isinstance(local, Ptr) and isinstance(target, Ptr):
        return True
    unsigned = isinstance(local, Int) and not local.signed
    return unsigned and isinstance(target, Int) and not target.signed


def _size(node: Type | None) -> int:
    """The size, 0 of what has none: a pointer may lead to it."""
    try:
        return size_of(node)
    except SpecError:
        return 0
