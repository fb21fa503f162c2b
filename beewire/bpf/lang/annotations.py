"""What the annotations of functions and names ask for."""

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.builder import Builder, Frame
from beewire.bpf.lang.contexts import Context, Ref
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.structs import Kernel
from beewire.bpf.lang.types import IntType, ValueType, find_value_type, value_type
from beewire.bpf.lang.values import Static
from beewire.hints import Any, members
from beewire.reasons import Reason
from beewire.rows import Row

NONE = type(None)


class Wanted(Row):
    """`type` is a ValueType, int, a class, or None; `nullable` for `T | None`."""

    type: Any
    nullable: bool = False

    @property
    def is_none(self) -> bool:
        """Whether it says `-> None`."""
        return self.type is None

    @property
    def name(self) -> str:
        """As it is written."""
        name = getattr(self.type, "name", None) or getattr(self.type, "__name__", "")
        name = name or repr(self.type)
        return f"{name} | None" if self.nullable else name


class RefTo(Row):
    """`Ref[T]`: an integer in memory."""

    type: ValueType

    @property
    def name(self) -> str:
        """As it is written."""
        return f"Ref[{self.type.name}]"


class Several(Row):
    """`tuple[A, B]`: several values at once, as a function returns them."""

    items: tuple[Wanted, ...]

    @property
    def name(self) -> str:
        """As it is written."""
        return f"tuple[{', '.join([item.name for item in self.items])}]"


def wanted(frame: Frame, name: str) -> Wanted | None:
    """The annotation of a parameter, or of "return"; None without one.

    Raises:
        Rule: It means nothing in programs.
    """
    annotations = frame.function.__annotations__
    if name not in annotations:
        return None
    return _meaning(frame, annotations[name])


def integer_type(b: Builder, node: ast.expr) -> IntType:
    """The type of an annotated name inside a function.

    Raises:
        Refused: It is no integer type.
    """
    hint = "u8 .. u64, i8 .. i64 or bool; other names need no annotation"
    named = _spelled_out(node)
    if isinstance(named, ast.Name | ast.Attribute):
        value = b.expr(named)
        type_ = find_value_type(value.obj) if isinstance(value, Static) else None
        if isinstance(type_, IntType):
            return type_
        if isinstance(value, Static) and value.obj is int:
            raise b.refuse(node, Reason.ANNOTATION, "int has no width", hint)
    raise b.refuse(
        node, Reason.ANNOTATION, f"{ast.unparse(node)} is no integer type", hint
    )


def _spelled_out(node: ast.expr) -> ast.expr:
    """The annotation that a text stands for, at the text's place."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return node
    try:
        found = ast.parse(node.value, mode="eval").body
    except SyntaxError:
        return node
    for part in ast.walk(found):
        ast.copy_location(part, node)
    return found


def _meaning(frame: Frame, given: Any) -> Wanted:
    if isinstance(given, str):
        given = _evaluate(frame, given)
    if given is None or given is NONE:
        return Wanted(None)
    if getattr(given, "__origin__", None) is tuple:
        return Wanted(Several(_items(frame, given)))
    if parts := members(given):
        rest = [part for part in parts if part is not NONE]
        if len(rest) == 1 and len(parts) == 2:
            return Wanted(_meaning(frame, rest[0]).type, nullable=True)
        raise Rule(
            Reason.ANNOTATION, f"{given} is not part of programs", "write T or T | None"
        )
    return Wanted(_plain(given))


def _items(frame: Frame, given: Any) -> tuple[Wanted, ...]:
    items = tuple([_meaning(frame, part) for part in given.__args__])
    if not items or any(item.is_none or item.type is object for item in items):
        raise Rule(
            Reason.ANNOTATION,
            f"{given} is not part of programs",
            "write each value's type: tuple[u16, u16]",
        )
    return items


_FOREIGN = (float, complex, str, bytes, tuple, list, dict, set, frozenset)


def _plain(given: Any) -> Any:
    if getattr(given, "__origin__", None) is Ref:
        return RefTo(value_type(given.__args__[0]))
    found: ValueType | None = find_value_type(given)
    if found is not None:
        return found
    if given in _FOREIGN:
        name = given.__name__
        raise Rule(
            Reason.ANNOTATION,
            f"{name} is no type of programs",
            "u32 and the like, bool, a Struct",
        )
    is_class = isinstance(given, type) and issubclass(given, Context | Kernel | int)
    # Maps and other objects of the module are passed as they are.
    return given if is_class else object


def _evaluate(frame: Frame, text: str) -> Any:
    names = dict(frame.function.__globals__)
    for name, cell in zip(
        frame.function.__code__.co_freevars,
        frame.function.__closure__ or (),
        strict=True,
    ):
        names[name] = cell.cell_contents
    try:
        return eval(text, names)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise Rule(
            Reason.ANNOTATION, f"the annotation {text!r} cannot be evaluated: {error}"
        ) from None
