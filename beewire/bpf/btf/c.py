"""BTF types as declarations in C, in an order that a compiler accepts.

print(declarations([exec_type]))

struct Exec {
u32 pid;
char comm[16];
};
"""

from beewire.bpf.btf.structure import size_of
from beewire.bpf.btf.types import (
    Array,
    Composite,
    Const,
    DeclTag,
    Enum,
    Func,
    FuncProto,
    Fwd,
    Member,
    Param,
    Ptr,
    Restrict,
    Type,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)
from beewire.hints import Iterable, Iterator

_INDENT = "        "
_QUALIFIERS: dict[type[Type], str] = {
    Const: "const",
    Volatile: "volatile",
    Restrict: "restrict",
}


def declarations(roots: Iterable[Type]) -> str:
    """Declare `roots` and every type with a name that they need; one text, in C.

    What is only pointed to is declared without its members, unless it is a root itself.
    """
    order = _Order()
    for root in roots:
        order.need(root)
        if isinstance(root, Composite | Enum) and not root.name:
            order.write(f"{order.printer.body(root)};")
    return "\n\n".join(order.texts)


def declare(node: Type | None, name: str = "") -> str:
    """Return the declaration of `name` as `node`: `int (*name)(void)`, say."""
    return _Printer().declare(node, name)


def _after(sign: str, qualifiers: list[str], name: str) -> str:
    return f"{sign}{_join(*qualifiers, name)}"


def _join(*words: str) -> str:
    return " ".join(word for word in words if word)


def _bare(node: Type | None) -> Type | None:
    while isinstance(node, Const | Volatile | Restrict | TypeTag):
        node = node.to
    return node


def _padding(start_bits: int, end_bits: int) -> str:
    start = -(-start_bits // 8)
    return f"char __padding_{start}[{end_bits // 8 - start}];"


def _bits(member: Member) -> int:
    return member.bitfield_bits or 8 * (size_of(member.type) if member.type else 0)


class _Printer:
    """Types as C writes them; remembers what C would align each to."""

    def __init__(self) -> None:
        self._aligns: dict[Composite, int] = {}

    def declare(self, node: Type | None, name: str = "") -> str:
        qualifiers: list[str] = []
        while True:
            match node:
                case Ptr():
                    name = _after("*", qualifiers, name)
                    if isinstance(_bare(node.to), Array | FuncProto):
                        name = f"({name})"
                    qualifiers = []
                    node = node.to
                case Array():
                    name = f"{name}[{node.count}]"
                    node = node.element
                case FuncProto():
                    name = f"{name}({self._parameters(node.params)})"
                    node = node.returns
                case Const() | Volatile() | Restrict():
                    if _QUALIFIERS[type(node)] not in qualifiers:
                        qualifiers.append(_QUALIFIERS[type(node)])
                    node = node.to
                case TypeTag():
                    node = node.to
                case _:
                    return _join(*qualifiers, self._spelling(node), name)

    def body(self, node: Composite | Enum) -> str:
        """A composite or enum with what is in it."""
        if isinstance(node, Enum):
            head = _join("enum", node.name)
            packed = node.size < 4
            lines = [f"{each.name} = {each.value}," for each in node.values]
        else:
            head = _join("union" if isinstance(node, Union) else "struct", node.name)
            packed = self._is_packed(node)
            lines = list(self._members(node))
        shown = [line for text in lines for line in text.splitlines()]
        inner = "".join(f"{_INDENT}{line}\n" for line in shown)
        return f"{head} {{\n{inner}}}{' __attribute__((packed))' if packed else ''}"

    def _parameters(self, params: tuple[Param, ...]) -> str:
        if not params:
            return "void"
        shown = [self.declare(each.type, each.name) for each in params]
        if params[-1].type is None and not params[-1].name:
            shown[-1] = "..."
        return ", ".join(shown)

    def _spelling(self, node: Type | None) -> str:
        """The type's own name, or its body where it has none."""
        match node:
            case Composite() | Enum() if not node.name:
                return self.body(node)
            case Fwd():
                return f"{'union' if node.union else 'struct'} {node.name}"
            case Union():
                return f"union {node.name}"
            case Composite():
                return f"struct {node.name}"
            case Enum():
                return f"enum {node.name}"
            case _:
                return node.name if node is not None and node.name else "void"

    def _members(self, node: Composite) -> Iterator[str]:
        """The members; where BTF has a gap that C would not leave, padding fills it."""
        packed, end = self._is_packed(node), 0
        for member in node.members:
            unit = 8 if packed else 8 * self._align(member.type)
            natural = end if member.bitfield_bits else -(-end // unit) * unit
            if member.offset_bits > natural:
                yield from self._gap(member, end)
            width = f" : {member.bitfield_bits}" if member.bitfield_bits else ""
            yield f"{self.declare(member.type, member.name)}{width};"
            end = max(end, member.offset_bits + _bits(member))
        unit = 8 if packed else 8 * self._align(node)
        if node.members and 8 * node.size > -(-end // unit) * unit:
            yield _padding(end, 8 * node.size)

    def _gap(self, member: Member, end: int) -> Iterator[str]:
        """What fills the bits between `end` and `member`."""
        start = member.offset_bits
        if start // 8 > -(-end // 8):
            yield _padding(end, start)
            end = start // 8 * 8
        if start > end and member.bitfield_bits:
            yield f"{self.declare(member.type)} : {start - end};"

    def _is_packed(self, node: Composite) -> bool:
        align = self._align(node)
        return bool(node.members) and (
            align == 1 and any(self._align(m.type) > 1 for m in node.members)
        )

    def _align(self, node: Type | None) -> int:
        """What C aligns the type to, in bytes."""
        for _ in range(100):  # hostile types may go round in circles
            node = _bare(node)
            if isinstance(node, Typedef):
                node = node.to
            elif isinstance(node, Array):
                node = node.element
            else:
                break
        if isinstance(node, Composite):
            if node not in self._aligns:
                self._aligns[node] = 1  # while it is not known: types may be circular
                self._aligns[node] = self._composite_align(node)
            return self._aligns[node]
        return 8 if isinstance(node, Ptr) else min(getattr(node, "size", 1) or 1, 8)

    def _composite_align(self, node: Composite) -> int:
        align = max([self._align(m.type) for m in node.members], default=1)
        askew = any(
            not m.bitfield_bits and m.offset_bits % (8 * self._align(m.type))
            for m in node.members
        )
        return 1 if askew or node.size % align else align


class _Order:
    """Texts in an order in which each needs only what stands before it."""

    def __init__(self) -> None:
        self.texts: dict[str, None] = {}
        self.printer = _Printer()
        self._done: set[Type] = set()
        self._written: set[Type] = set()

    def write(self, text: str) -> None:
        """Add a declaration, unless it is there."""
        self.texts.setdefault(text)

    def need(self, node: Type | None) -> None:
        """Write what declares `node` completely."""
        if node is None or node in self._done:
            return
        self._done.add(node)
        for part, complete in _parts(node):
            if complete:
                self.need(part)
            else:
                self._mention(part)
        if text := self._text(node):
            self.write(text)
        self._written.add(node)
        if isinstance(node, Typedef):
            self.need(node.to)

    def _mention(self, node: Type | None) -> None:
        """Write what lets a pointer to `node` be declared."""
        node = _bare(node)
        if isinstance(node, Ptr):
            self._mention(node.to)
        elif isinstance(node, Composite | Fwd) and node.name:
            if node not in self._written:
                self.write(f"{self.printer.declare(node)};")
        else:
            self.need(node)

    def _text(self, node: Type) -> str:
        match node:
            case Composite() | Enum() if node.name:
                return f"{self.printer.body(node)};"
            case Typedef():
                return f"typedef {self.printer.declare(node.to, node.name)};"
            case Func():
                return f"{self.printer.declare(node.proto, node.name)};"
            case Var():
                return f"{self.printer.declare(node.type, node.name)};"
            case _:
                return ""


def _parts(node: Type) -> Iterator[tuple[Type | None, bool]]:
    """The types that `node` needs, and whether they have to be complete before it."""
    if isinstance(node, DeclTag):
        return
    complete = not isinstance(node, Ptr | Typedef | FuncProto)
    for part in node.references():
        # BTF gives the index of an array a type; C has no name for it.
        if not (isinstance(node, Array) and part is node.index):
            yield part, complete
