"""The arguments of a call, by name."""

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.faults import near
from beewire.bpf.lang.types import ValueType, find_value_type
from beewire.bpf.lang.values import Content, Static, Value
from beewire.hints import Sequence
from beewire.reasons import Reason


def arguments(
    b: Builder,
    node: ast.Call,
    names: tuple[str, ...],
    required: int | Sequence[str] | None = None,
) -> list[ast.expr | None]:
    """The nodes of a call's arguments in the order of `names`; None where left out.

    `required` are those that may not be left out, or how many of the first; all, if None.

    Raises:
        Refused: There are too many, too few, or unknown ones.
    """
    if required is None or isinstance(required, int):
        required = names[:required]
    found: dict[str, ast.expr] = dict(zip(names, node.args, strict=False))
    if len(node.args) > len(names):
        many = f"{len(names)} argument{'s' if len(names) != 1 else ''}"
        called = ast.unparse(node.func)
        message = f"{called}() takes {many}, {len(node.args)} are given"
        raise b.refuse(node.args[len(names)], Reason.ARGUMENTS, message)
    for keyword in node.keywords:
        assert keyword.arg is not None
        if keyword.arg not in names or keyword.arg in found:
            if keyword.arg in found:
                message, hint = "is given twice", "leave one out"
            else:
                message, hint = "is unknown", near(keyword.arg, list(names))
            raise b.refuse(
                keyword.value,
                Reason.ARGUMENTS,
                f"argument {keyword.arg!r} {message}",
                hint,
            )
        found[keyword.arg] = keyword.value
    missing = [name for name in required if name not in found]
    if missing:
        called = ast.unparse(node.func)
        raise b.refuse(
            node,
            Reason.ARGUMENTS,
            f"{called}() needs {' and '.join(map(repr, missing))}",
        )
    return [found.get(name) for name in names]


def evaluated(b: Builder, nodes: Sequence[ast.expr | None]) -> list[Value | None]:
    """The values of arguments, computed in the order in which they are written."""
    values: list[Value | None] = [None] * len(nodes)
    given = [(node, place) for place, node in enumerate(nodes) if node is not None]
    for node, place in sorted(given, key=lambda pair: _position(pair[0])):
        values[place] = b.expr(node)
    return values


def _position(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def required(nodes: list[ast.expr | None]) -> list[ast.expr]:
    """Arguments of which none may be left out."""
    return [node for node in nodes if node is not None]


def static_type(b: Builder, node: ast.expr) -> ValueType:
    """The type that an argument names.

    Raises:
        Refused: It names none.
    """
    found = b.deferred(node)
    if isinstance(found, Content) and found.value is None:
        # array(u8, 4), written where it is needed
        return found.type
    type_ = find_value_type(found.obj) if isinstance(found, Static) else None
    if type_ is None:
        raise b.refuse(
            node,
            Reason.WRONG_ARGUMENT,
            "a type is needed here",
            "a Struct, or u32 and the like",
        )
    return type_
