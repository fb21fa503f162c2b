"""`Union`: several types for the same bytes."""

from beewire.bpf.lang.composites import Composite, StructType, layout_of
from beewire.bpf.lang.types import pack, unpack
from beewire.errors import SpecError
from beewire.hints import Any, Self


class Union(Composite):
    """A C union: each annotated field begins at byte 0.

        class Address(Union):
            v4: be32
            words: list[be32] = array(be32, 4)

    `Address(v4=...)` gives one of them, the other bytes are zero. Whichever field is
    read tells what the bytes mean as that; what was written last, stands.
    """

    def __init_subclass__(cls, *, packed: bool = False, align: int = 0) -> None:
        """Lay the fields out, one over another.

        Raises:
            SpecError: A field's annotation is no type of a fixed size, or it has a
                default.
        """
        layout = layout_of(cls, Union, packed=packed, align=align, union=True)
        for field in layout.fields:
            if field.default is not None:
                name = f"{cls.__name__}.{field.name}"
                raise SpecError(f"{name}: a field of a union has no default")
        cls.__layout__ = StructType(cls, layout, union=True)
        for field in layout.fields:
            setattr(cls, field.name, _View(field.name))

    def __new__(cls, **_: Any) -> Self:
        """An instance of zeros."""
        value = super().__new__(cls)
        value.__dict__.update(raw=bytearray(cls.__layout__.size), live="", value=None)
        return value

    def __init__(self, **member: Any) -> None:
        if len(member) > 1:
            given = " and ".join(member)
            raise TypeError(f"{type(self).__name__} holds one of {given}, not both")
        for name, value in member.items():
            if name not in self.__layout__.fields:
                raise TypeError(f"{type(self).__name__} has no field {name}")
            setattr(self, name, value)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        """Over the content, as that of structs."""
        return hash(self.to_bytes())

    def set_raw(self, raw: bytes) -> None:
        """Take the content from the start of `raw`."""
        size = self.__layout__.size
        self.__dict__.update(raw=bytearray(raw[:size]), live="", value=None)

    def _set_bytes(self, raw: bytes) -> None:
        self.set_raw(raw)

    def _get_bytes(self) -> bytes:
        self._settle()
        return bytes(self.__dict__["raw"])

    def _settle(self) -> None:
        """Bring what was read or written last, which may have changed since, to bytes."""
        state = self.__dict__
        if state["live"]:
            part = pack(state["value"], self.__layout__.fields[state["live"]].type)
            state["raw"][: len(part)] = part


class _View:
    """A field of a union: the bytes as its type."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: Union | None, owner: type) -> Any:
        if instance is None:
            return self
        state = instance.__dict__
        if state["live"] != self.name:
            instance._settle()
            type_ = instance.__layout__.fields[self.name].type
            state.update(live=self.name, value=unpack(state["raw"], type_))
        return state["value"]

    def __set__(self, instance: Union, value: object) -> None:
        instance._settle()
        instance.__dict__.update(live=self.name, value=value)


def make_union(layout: StructType, names: tuple[str, ...]) -> Union:
    """What the fields `names` of a struct share."""
    key = layout.python, names
    if key not in _made:
        types = {name: layout.fields[name].type for name in names}
        body = {"__annotations__": types, "__module__": layout.python.__module__}
        _made[key] = type(layout.name, (Union,), body)
    return _made[key]()


_made: dict[tuple[type, tuple[str, ...]], type[Union]] = {}
