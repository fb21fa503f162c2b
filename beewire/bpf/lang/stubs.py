"""Kernel classes written out from BTF: a module that programs import and editors read.

class task_struct(Kernel):
pid: i32
real_parent: "task_struct"
comm: str = chars(16)
"""

from keyword import iskeyword

from beewire.bpf.btf import (
    Array,
    Composite,
    Const,
    Enum,
    Index,
    Int,
    Member,
    Ptr,
    Restrict,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Volatile,
)
from beewire.errors import SpecError
from beewire.hints import Iterable, Iterator

_TOO_LONG = 1 << 16  # elements; a field of more is left to kernel_ptr()


def stub_module(names: Iterable[str], types: Index, origin: str) -> str:
    """Return the text of a module with a Kernel class for each of `names`.

    `origin` says whose types these are, for the docstring. Structs that lie inside those
    asked for are written out as well; those that are only pointed to get an empty class.
    What no class can say stands in a comment.

    Raises:
        SpecError: There is no struct or union of a name.
    """
    asked = list(names)
    written = _closure([_find(types, name) for name in asked])
    writer = _Writer(written)
    classes = [writer.whole(node) for node in written.values()]
    mentioned = [
        f"class {writer.class_name(name)}(Kernel):\n"
        f'    """Only pointed to here: `beewire stubs {name}` writes it out."""'
        for name in writer.mentioned
    ]
    words = ["Kernel", *sorted(writer.used - {"bool"})]
    lines = [f'"""{origin}, written by `beewire stubs {" ".join(asked)}`."""', ""]
    lines += ["from beewire.bpf import (", *(f"    {word}," for word in words), ")"]
    body = "\n\n\n".join([*classes, *mentioned])
    return "\n".join([*lines, "", "", body, ""])


def _find(types: Index, name: str) -> Composite:
    found = types.lookup(name, Struct) or types.lookup(name, Union)
    if found is None:
        raise SpecError(
            f"these types have no struct or union {name!r}; `bpftool btf dump file "
            "/sys/kernel/btf/vmlinux` lists what there is"
        )
    return found


def _closure(asked: list[Composite]) -> dict[str, Composite]:
    """Those asked for, and by name what lies inside them."""
    found: dict[str, Composite] = {}
    waiting: list[Type | None] = [*reversed(asked)]
    while waiting:
        node = _bare(waiting.pop())
        if isinstance(node, Composite) and node.name not in found:
            if node.name:
                found[node.name] = node
            waiting += [member.type for member in reversed(node.members)]
    return found


class _Writer:
    """Texts of classes, and what they turn out to need."""

    def __init__(self, written: dict[str, Composite]) -> None:
        self.written = written
        self.mentioned: dict[str, None] = {}
        self.used: set[str] = set()
        self._fields_named = {
            name for node in written.values() for name in _field_names(node)
        }

    def class_name(self, name: str) -> str:
        """A struct's class; where a field has the same name, as a flavour of it."""
        return f"{name}___kernel" if name in self._fields_named else name

    def whole(self, node: Composite) -> str:
        name = self.class_name(node.name)
        kind = "union" if isinstance(node, Union) else "struct"
        head = [
            f"class {name}(Kernel):",
            f'    """`{kind} {node.name}`, {node.size} bytes."""',
        ]
        fields = [f"    {line}" for line in self._fields(node, set())]
        return "\n".join([*head, *([""] if fields else []), *fields])

    def _fields(self, node: Composite, taken: set[str]) -> Iterator[str]:
        for member in node.members:
            inner = _bare(member.type)
            if not member.name and isinstance(inner, Composite):
                # Names look through what has none, as in C.
                yield from self._fields(inner, taken)
            elif member.name and member.name not in taken:
                taken.add(member.name)
                yield self._field(member, inner)

    def _field(self, member: Member, node: Type | None) -> str:
        name = member.name
        if iskeyword(name) or (name.startswith("__") and name.endswith("__")):
            return f"# {name}: not a name in Python"
        if member.bitfield_bits:
            return f"{name}: {self._number(node)} = {self._use('bits')}({member.bitfield_bits})"
        return self._plain(name, node)

    def _plain(self, name: str, node: Type | None) -> str:
        match node:
            case Int() | Enum():
                return f"{name}: {self._number(node)}"
            case Ptr():
                return f"{name}: {self._pointer(node)}"
            case Composite() if node.name:
                inner = self._mention(node.name)
                return f'{name}: "{inner}" = {self._use("embedded")}()'
            case Array():
                return self._array(name, node)
            case _:
                return f"# {name}: a type without a name"

    def _array(self, name: str, node: Array) -> str:
        element = _bare(node.element)
        if not 0 < node.count < _TOO_LONG:
            return f"# {name}: an array of {node.count} elements"
        if isinstance(element, Int) and element.size == 1 and element.name == "char":
            return f"{name}: str = {self._use('chars')}({node.count})"
        if isinstance(element, Int | Enum):
            word = self._number(element)
            return f"{name}: list[{word}] = {self._use('array')}({word}, {node.count})"
        return f"# {name}: an array of {node.count} structs or pointers"

    def _number(self, node: Type | None) -> str:
        if isinstance(node, Int) and node.bool:
            return "bool"
        signed = isinstance(node, Int | Enum) and node.signed
        size = node.size if isinstance(node, Int | Enum) else 4
        return self._use(f"{'i' if signed else 'u'}{8 * min(size, 8)}")

    def _pointer(self, node: Ptr) -> str:
        target = _bare(node.to)
        if isinstance(target, Composite) and target.name:
            return f'"{self._mention(target.name)}"'
        return self._use("u64")

    def _mention(self, name: str) -> str:
        if name not in self.written:
            self.mentioned.setdefault(name)
        return self.class_name(name)

    def _use(self, word: str) -> str:
        self.used.add(word)
        return word


def _field_names(node: Composite) -> Iterator[str]:
    for member in node.members:
        inner = _bare(member.type)
        if member.name:
            yield member.name
        elif isinstance(inner, Composite):
            yield from _field_names(inner)


def _bare(node: Type | None) -> Type | None:
    while isinstance(node, Const | Volatile | Restrict | TypeTag | Typedef):
        node = node.to
    return node
