"""Row: tuples with named fields.

To a type checker it is `NamedTuple`. When running, a class takes a fifth of the time to
make, because no source text is compiled for it: the two dozen on the way to the first
attach() are 4 ms of start-up as NamedTuples.
"""

from beewire.hints import TYPE_CHECKING, Any

__all__ = ["Row"]

if TYPE_CHECKING:
    from typing import NamedTuple as Row
else:
    from _collections import _tuplegetter  # what NamedTuple's fields are, too

    class _Kind(type):
        """The class of such classes: it turns annotations into fields."""

        def __new__(
            cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]
        ) -> type:
            fields = tuple(namespace.get("__annotations__", ()))
            defaults = {key: namespace[key] for key in fields if key in namespace}
            for place, key in enumerate(fields):
                namespace[key] = _tuplegetter(place, "")
            namespace["__slots__"] = ()
            namespace["__match_args__"] = namespace["_fields"] = fields
            namespace["_field_defaults"] = defaults
            namespace["_places"] = {key: place for place, key in enumerate(fields)}
            return super().__new__(cls, name, bases, namespace)

    class Row(tuple, metaclass=_Kind):
        """A base class, used as `NamedTuple` is."""

        __slots__ = ()

        def __new__(cls, *values: Any, **named: Any) -> Any:
            """The row of these values, given by place or by name."""
            if named or len(values) != len(cls._fields):
                values = _complete(cls, values, named)
            return tuple.__new__(cls, values)

        # Unchecked, and a third of the time: for what is made by the hundred.
        _make = classmethod(tuple.__new__)

        def _replace(self, **named: Any) -> Any:
            values = list(self)
            for key, value in named.items():
                if key not in self._places:
                    raise TypeError(f"{type(self).__name__}: {key!r} is unknown")
                values[self._places[key]] = value
            return tuple.__new__(type(self), values)

        def _asdict(self) -> dict[str, Any]:
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self) -> str:
            inner = ", ".join(
                f"{key}={value!r}" for key, value in self._asdict().items()
            )
            return f"{type(self).__name__}({inner})"

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)

    def _complete(
        kind: type, values: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Any, ...]:
        """All values in order, from those given by place, by name and by default."""
        fields = kind._fields
        if len(values) > len(fields):
            raise TypeError(f"{kind.__name__} takes {len(fields)} values")
        found = kind._field_defaults | dict(zip(fields, values, strict=False))
        for key in named:
            if key not in fields or key in fields[: len(values)]:
                raise TypeError(f"{kind.__name__}: {key!r} is unknown or given twice")
        if named:
            found |= named
        if len(found) != len(fields):
            missing = [key for key in fields if key not in found]
            raise TypeError(f"{kind.__name__} needs {', '.join(missing)}")
        return tuple([found[key] for key in fields])
