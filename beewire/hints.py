"""What `typing` and `collections.abc` offer to annotations, for a tenth of their cost.

To a type checker these are the names of `typing`. When running, nobody looks at most of
them, and `typing` takes re, contextlib, functools and collections along: 12 ms of the
start-up of every program. What is looked at works as it does there: `Annotated` keeps
its metadata, a class that is Generic its arguments, `A | B` its members.
"""

import sys
from _collections_abc import (  # collections.abc is this, in a package that costs 2 ms
    Callable,
    Container,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
    ValuesView,
)

TYPE_CHECKING = False  # checkers take a variable of this name for true

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import CodeType, FunctionType, ModuleType
    from typing import (
        Annotated,
        Any,
        ClassVar,
        Generic,
        NoReturn,
        Self,
        TypeVar,
        dataclass_transform,
        overload,
    )
else:
    # Not from `types`, which makes 30 of them to name them.
    FunctionType = type(lambda: None)
    CodeType = type((lambda: None).__code__)
    ModuleType = type(sys)

    class Hint:
        """A name in annotations."""

        def __init__(self, name: str, origin: object = None, *metadata: object) -> None:
            self.__name__ = name
            self.__origin__ = origin
            self.__metadata__ = metadata

        def __repr__(self) -> str:
            return self.__name__

        def __getitem__(self, arguments: object) -> "Hint":
            return self

        def __or__(self, other: object) -> "Either":
            return Either(self, other)

        def __ror__(self, other: object) -> "Either":
            return Either(other, self)

    class Either(Hint):
        """`A | B`, where one of them is a Hint."""

        def __init__(self, *members: object) -> None:
            super().__init__(" | ".join([_text(each) for each in members]))
            self.__args__ = tuple(
                [type(None) if each is None else each for each in members]
            )

        def __eq__(self, other: object) -> bool:
            return type(other) is Either and set(self.__args__) == set(other.__args__)

        def __hash__(self) -> int:
            return hash(frozenset(self.__args__))

    class _Annotated:
        def __getitem__(self, parts: tuple[object, ...]) -> Hint:
            origin, *metadata = parts
            return Marked(_text(metadata[0]), origin, *metadata)

    class Marked(Hint):
        """`Annotated[T, ...]`; called, it makes a T, by the metadata's `wrap` if any."""

        def __call__(self, *values: object, **named: object) -> object:
            wrap = getattr(self.__metadata__[0], "wrap", None)
            made = self.__origin__(*values, **named)
            return made if wrap is None else wrap(made)

    class Alias(Hint):
        """A generic class with its arguments; called, it makes what the class makes."""

        def __init__(self, origin: type, arguments: tuple[object, ...]) -> None:
            inner = ", ".join([_text(each) for each in arguments])
            super().__init__(f"{origin.__name__}[{inner}]", origin)
            self.__args__ = arguments

        def __eq__(self, other: object) -> bool:
            return type(other) is Alias and (self.__origin__, self.__args__) == (
                other.__origin__,
                other.__args__,
            )

        def __hash__(self) -> int:
            return hash((self.__origin__, self.__args__))

        def __getitem__(self, arguments: object) -> "Alias":
            given = arguments if isinstance(arguments, tuple) else (arguments,)
            mine = self.__args__
            # A user's own, from typing, which is not imported to look.
            open_ = dict.fromkeys(
                [each for each in mine if type(each).__name__ == "TypeVar"]
            )
            if len(open_) != len(given):
                raise TypeError(f"{self!r} takes {len(open_)} arguments")
            bound = dict(zip(open_, given, strict=True))
            return Alias(self.__origin__, tuple([bound.get(e, e) for e in mine]))

        def __call__(self, *values: object, **named: object) -> object:
            made = self.__origin__(*values, **named)
            made.__orig_class__ = self
            return made

        def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
            return (self.__origin__,)

        def __getattr__(self, name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            return getattr(self.__origin__, name)

    class Generic:
        """A base class, used as `Generic[T]`."""

        __slots__ = ()

        def __class_getitem__(cls, arguments: object) -> Alias:
            given = arguments if isinstance(arguments, tuple) else (arguments,)
            return Alias(cls, given)

    def TypeVar(name: str, **_: object) -> Hint:  # noqa: N802 - its name there
        """A type variable: nothing but its name."""
        return Hint(name)

    def overload(function: object) -> object:
        """Mark a signature that the function has as well."""
        return function

    def dataclass_transform(**_: object) -> object:
        """Mark a class whose subclasses are like dataclasses."""
        return overload

    def _text(part: object) -> str:
        return part.__name__ if isinstance(part, type) else repr(part)

    Annotated = _Annotated()
    AbstractContextManager = Hint("AbstractContextManager")
    Any = Hint("Any")
    ClassVar = Hint("ClassVar")
    NoReturn = Hint("NoReturn")
    Self = Hint("Self")

__all__ = [
    "TYPE_CHECKING",
    "AbstractContextManager",
    "Annotated",
    "Any",
    "Callable",
    "ClassVar",
    "CodeType",
    "Container",
    "FunctionType",
    "Generic",
    "ItemsView",
    "Iterable",
    "Iterator",
    "Mapping",
    "ModuleType",
    "MutableMapping",
    "NoReturn",
    "Self",
    "Sequence",
    "TypeVar",
    "ValuesView",
    "dataclass_transform",
    "members",
    "overload",
]


def members(annotation: object) -> tuple[object, ...]:
    """The types that `A | B`, Optional or Union is made of; () of anything else."""
    typing = sys.modules.get("typing")  # else nobody has made one of its Unions
    is_union = isinstance(annotation, type(int | None)) or (
        type(annotation).__name__ == "Either"
        or (typing is not None and typing.get_origin(annotation) is typing.Union)
    )
    found: tuple[object, ...] = getattr(annotation, "__args__", ()) if is_union else ()
    return found
