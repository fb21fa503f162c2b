"""WireEnum: names for the numbers of a wire format.

To a type checker it is `IntEnum`. When running, its members are ints with a name that
take a tenth of the time to make: the 290 on the way to the first attach() are 5 ms of
start-up as IntEnums. What users name in programs stays IntEnum proper.
"""

from beewire.hints import TYPE_CHECKING, Any, Iterator

__all__ = ["WireEnum"]

if TYPE_CHECKING:
    from enum import IntEnum as WireEnum
else:

    class _Kind(type):
        """The class of such enums: they are used as enum classes are."""

        _members: dict[int, Any]

        def __init__(
            cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]
        ) -> None:
            super().__init__(name, bases, namespace)
            cls._members = {}
            for word, number in namespace.items():
                if type(number) is int and not word.startswith("_"):
                    member = cls._members[number] = int.__new__(cls, number)
                    member.name = word
                    setattr(cls, word, member)

        def __call__(cls, number: int) -> Any:
            try:
                return cls._members[number]
            except KeyError:
                raise ValueError(f"{number!r} is no {cls.__name__}") from None

        def __getitem__(cls, word: str) -> Any:
            member = vars(cls).get(word)
            if not isinstance(member, cls):
                raise KeyError(word)
            return member

        def __iter__(cls) -> Iterator[Any]:
            return iter(cls._members.values())

        def __len__(cls) -> int:
            return len(cls._members)

    class WireEnum(int, metaclass=_Kind):
        """A base class, used as `IntEnum` is; no methods, no two names for a number."""

        name: str
        __str__ = int.__repr__

        @property
        def value(self) -> int:
            """The number."""
            return int(self)

        def __repr__(self) -> str:
            return f"<{type(self).__name__}.{self.name}: {int(self)}>"

        def __reduce__(self) -> tuple[type, tuple[int]]:
            # Copies and pickles are the member itself.
            return type(self), (int(self),)
