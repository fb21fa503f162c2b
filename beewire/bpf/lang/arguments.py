"""The arguments of a call, by name."""

import ast

from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.faults import near


def arguments(
    b: Builder, node: ast.Call, names: tuple[str, ...], required: int | None = None
) -> list[ast.expr | None]:
    """The nodes of a call's arguments in the order of `names`; None where left out.

    Raises:
        Refused: There are too many, too few, or unknown ones.
    """
    least = len(names) if required is None else required
    found: dict[str, ast.expr] = dict(zip(names, node.args, strict=False))
    if len(node.args) > len(names):
        many = f"{len(names)} argument{'s' if len(names) != 1 else ''}"
        called = ast.unparse(node.func)
        message = f"{called}() takes {many}, {len(node.args)} are given"
        raise b.refuse(node.args[len(names)], message)
    for keyword in node.keywords:
        assert keyword.arg is not None
        if keyword.arg not in names or keyword.arg in found:
            twice = keyword.arg in found
            message = (
                f"argument {keyword.arg!r} is {'given twice' if twice else 'unknown'}"
            )
            raise b.refuse(keyword.value, message, near(keyword.arg, list(names)))
        found[keyword.arg] = keyword.value
    missing = [name for name in names[:least] if name not in found]
    if missing:
        called = ast.unparse(node.func)
        raise b.refuse(node, f"{called}() needs {' and '.join(map(repr, missing))}")
    return [found.get(name) for name in names]


def required(nodes: list[ast.expr | None]) -> list[ast.expr]:
    """Arguments of which none may be left out."""
    return [node for node in nodes if node is not None]
