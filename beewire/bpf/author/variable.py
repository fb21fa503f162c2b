"""Globals: variables that programs and user space share.

settings = Global(Settings)     # settings.port
limit = Global(u32, 7)          # limit.value
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from beewire.bpf.author.bound import home_of
from beewire.bpf.author.codec import decoder, encoder
from beewire.bpf.lang import GlobalDecl, Ref, Struct
from beewire.bpf.lang.structs import StructType
from beewire.errors import SpecError

if TYPE_CHECKING:
    from beewire.bpf.author.home import Home

S = TypeVar("S", bound=Struct)

# What a declaration says about itself; a field of the same name could not be told apart.
_OWN = frozenset({"type", "initial", "name", "section", "offset", "fixed", "is_struct"})


class Variable(GlobalDecl):
    """A declared global; in user space its fields are those of the process's own.

    `value` is the whole of it. Reading and writing touch that field's bytes only.
    """

    def __getattr__(self, field: str) -> Any:
        if field.startswith("__") or not _has(self, field):
            # A copy in the making has no name yet, and asks here for it.
            name = self.__dict__.get("name", "")
            raise AttributeError(f"global {name} has no field {field!r}")
        return read(home_of(None), self, field)

    def __setattr__(self, field: str, value: object) -> None:
        if field in _OWN:
            super().__setattr__(field, value)
        elif _has(self, field):
            write(home_of(None), self, field, value)
        else:
            raise AttributeError(f"global {self.name} has no field {field!r}")


class View:
    """A global of one Loaded, as `loaded[settings]` gives it."""

    __slots__ = ("_declared", "_home")

    def __init__(self, home: Home, declared: Variable) -> None:
        object.__setattr__(self, "_home", home)
        object.__setattr__(self, "_declared", declared)

    def __repr__(self) -> str:
        return repr(read(self._home, self._declared, "value"))

    def __getattr__(self, field: str) -> Any:
        if not _has(self._declared, field):
            raise AttributeError(f"{self._declared.name} has no field {field!r}")
        return read(self._home, self._declared, field)

    def __setattr__(self, field: str, value: object) -> None:
        if not _has(self._declared, field):
            raise AttributeError(f"{self._declared.name} has no field {field!r}")
        write(self._home, self._declared, field, value)


@overload  # a Struct class is an object too, and the first that fits is taken
def Global(  # type: ignore[overload-overlap]
    type: type[S], initial: S | None = None, *, name: str = ""
) -> S: ...
@overload
def Global(type: object, initial: int = 0, *, name: str = "") -> Ref[int]: ...
def Global(type: Any, initial: Any = None, *, name: str = "") -> Any:  # noqa: A002, N802 - reads as a type
    """Declare a variable that programs and user space share; each Loaded has its own.

    `settings = Global(Settings)` gives `settings.port`, `limit = Global(u32, 7)` gives
    `limit.value`. It is named after the variable that holds it.

    Raises:
        SpecError: `type` is no type of a fixed size, or has a field that cannot be told
            from the declaration itself.
    """
    declared = Variable(type, initial, name=name)
    if isinstance(declared.type, StructType) and (
        hit := _OWN & set(declared.type.fields)
    ):
        raise SpecError(
            f"a Global of {declared.type.name} cannot have a field {min(hit)!r}: the "
            "declaration uses that name itself; call the field otherwise"
        )
    return declared


def read(home: Home, declared: GlobalDecl, field: str = "value") -> Any:
    """The value of a field, or of the whole (`value`), as it is now."""
    section = home.section(declared)
    data = section.read(declared.name)
    if field == "value":
        return decoder(declared.type)(data)
    assert isinstance(declared.type, StructType)
    found = declared.type.fields[field]
    return decoder(found.type)(data[found.offset : found.offset + found.type.size])


def write(home: Home, declared: GlobalDecl, field: str, value: object) -> None:
    """Set a field, or the whole (`value`)."""
    section = home.section(declared)
    if field == "value":
        section.write(declared.name, encoder(declared.type)(value))
        return
    assert isinstance(declared.type, StructType)
    found = declared.type.fields[field]
    whole = section.variables[declared.name]
    part = f"{declared.name}.{field}"
    # A section writes whole variables, so the field becomes one.
    section.variables[part] = whole._replace(
        name=part, offset=whole.offset + found.offset, size=found.type.size
    )
    section.write(part, encoder(found.type)(value))


def _has(declared: GlobalDecl, field: str) -> bool:
    if field == "value":
        return True
    found = declared.__dict__.get("type")
    return isinstance(found, StructType) and field in found.fields
