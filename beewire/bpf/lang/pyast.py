"""Python's syntax trees, as the module `ast` offers them and for a tenth of its cost.

The classes are the interpreter's own. `ast` adds functions to them and imports re, enum
and contextlib for that: 8 ms of start-up. What is written here anew is what is used.
"""

from beewire.hints import TYPE_CHECKING, Iterator, TypeVar

if TYPE_CHECKING:
    from ast import *  # noqa: F403 - `ast` as it is
else:
    from _ast import *  # noqa: F403 - the classes of all nodes
    from _ast import AST, PyCF_ONLY_AST

    N = TypeVar("N", bound="AST")

    def parse(source: str, filename: str = "<unknown>", mode: str = "exec") -> "AST":
        """The tree of a source text."""
        return compile(source, filename, mode, PyCF_ONLY_AST)

    def iter_child_nodes(node: "AST") -> "Iterator[AST]":
        """The nodes that lie in a node."""
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, AST):
                yield value
            elif isinstance(value, list):
                yield from [each for each in value if isinstance(each, AST)]

    def walk(node: "AST") -> "Iterator[AST]":
        """A node and all below it, from the outside in."""
        nodes = [node]
        for each in nodes:
            nodes.extend(iter_child_nodes(each))
            yield each

    def copy_location(new: "N", old: "AST") -> "N":
        """`new`, placed where `old` stands in its source."""
        for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
            if name in new._attributes and hasattr(old, name):
                setattr(new, name, getattr(old, name))
        return new

    def unparse(node: "AST") -> str:
        """A node as source text: for messages, which have time for the real `ast`."""
        import ast  # noqa: PLC0415

        return ast.unparse(node)
