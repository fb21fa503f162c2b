"""Globals: variables that programs and user space share.

settings = Global(Settings)     # settings.port
limit = Global(u32, 7)          # limit.value
table = Global(array(u32, 8))   # table[i]
verbose = Const(bool)           # verbose.value: set before it is loaded
seen = PerCpuGlobal(u64)        # seen.value in programs, seen.values in user space
hz = Kconfig(u32, "CONFIG_HZ")  # hz.value: as the kernel was configured
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from beewire.bpf.author.bound import OnMap, home_of
from beewire.bpf.author.codec import decoder, encoder
from beewire.bpf.lang import GlobalDecl, PerCpuDecl, Ref, Struct
from beewire.bpf.lang.layout import BitsType
from beewire.bpf.lang.structs import StructType
from beewire.bpf.lang.types import ArrayType, ValueType
from beewire.errors import MapError, SpecError

if TYPE_CHECKING:
    from beewire.bpf.author.home import Home
    from beewire.bpf.kernel.maps import PerCpu

S = TypeVar("S", bound=Struct)
V = TypeVar("V")

# What a declaration says about itself; a field of the same name could not be told apart.
_OWN = frozenset(
    (
        "type",
        "initial",
        "name",
        "section",
        "offset",
        "fixed",
        "is_struct",
        "is_named",
        "is_place",
        "option",
        "optional",
        "read_only",
    )
)


class Variable(GlobalDecl):
    """A declared global; in user space its fields are those of the process's own.

    `value` is the whole of it. Reading and writing touch that field's bytes only.
    """

    def __getattr__(self, field: str) -> Any:
        if field.startswith("__") or not _has(self, field):
            # A copy in the making has no name yet, and asks here for it.
            name = self.__dict__.get("name", "")
            raise AttributeError(f"global {name} has no field {field!r}")
        if self.read_only and not home_of(None).has(self):
            return initial(self, field)
        return read(home_of(None), self, field)

    def __setattr__(self, field: str, value: object) -> None:
        if field in _OWN:
            super().__setattr__(field, value)
        elif not _has(self, field):
            raise AttributeError(f"global {self.name} has no field {field!r}")
        elif self.read_only and not home_of(None).has(self):
            set_initial(self, field, value)
        else:
            write(home_of(None), self, field, value)

    def __getitem__(self, index: int) -> Any:
        """An element of an array, in user space."""
        return read_element(home_of(None), self, index)

    def __setitem__(self, index: int, value: object) -> None:
        write_element(home_of(None), self, index, value)


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

    def __getitem__(self, index: int) -> Any:
        return read_element(self._home, self._declared, index)

    def __setitem__(self, index: int, value: object) -> None:
        write_element(self._home, self._declared, index, value)


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
    return _checked(Variable(type, initial, name=name))


@overload
def Const(  # type: ignore[overload-overlap]  # as Global's
    type: type[S], initial: S | None = None, *, name: str = ""
) -> S: ...
@overload
def Const(type: object, initial: int = 0, *, name: str = "") -> Ref[int]: ...
def Const(type: Any, initial: Any = None, *, name: str = "") -> Any:  # noqa: A002, N802 - reads as a type
    """Declare a constant of programs that user space sets before it loads them.

    The verifier knows its value, and drops what cannot run with it: `verbose =
    Const(bool)`, `if verbose.value:` costs nothing where it is off. It is set by
    `load(..., globals={"verbose": True})`, or by `verbose.value = True` before the first
    program that uses it is attached (Linux 5.2).

    Raises:
        SpecError: As for Global.
    """
    return _checked(Variable(type, initial, name=name, read_only=True))


def Kconfig(type: object, option: str, *, optional: bool = False) -> Ref[int]:  # noqa: A002, N802 - reads as a type
    """Declare an option of the kernel's configuration, a constant of programs.

        hz = Kconfig(u32, "CONFIG_HZ")      # hz.value
        has_jit = Kconfig(bool, "CONFIG_BPF_JIT", optional=True)

    The loader reads it from /boot/config-* or /proc/config.gz; `LINUX_KERNEL_VERSION` is
    one, too (Linux 6.18.44 is 0x6122c). A number is read into an integer, `y` and `n` into
    a bool, `y`, `n` and `m` as a letter into `u8`, a text into `chars(n)`. One that is
    `optional` is 0 where the kernel has no such option; another one refuses to be loaded.

    Raises:
        SpecError: `type` is no type of a fixed size, or `option` no name of one.
    """
    if not option.startswith(("CONFIG_", "LINUX_")):
        raise SpecError(
            f"{option!r} is no option of the kernel: they begin with CONFIG_, such as "
            "CONFIG_HZ; or LINUX_KERNEL_VERSION"
        )
    declared: Any = Variable(
        type, name=option, read_only=True, option=True, optional=optional
    )
    return declared  # type: ignore[no-any-return]


def _checked(declared: Variable) -> Variable:
    if isinstance(declared.type, StructType) and (
        hit := _OWN & set(declared.type.fields)
    ):
        raise SpecError(
            f"a Global of {declared.type.name} cannot have a field {min(hit)!r}: the "
            "declaration uses that name itself; call the field otherwise"
        )
    return declared


class PerCpuRef(Generic[V]):
    """A per-CPU global: `value` in programs, `values` in user space."""

    value: V

    if TYPE_CHECKING:

        @property
        def values(self) -> PerCpu[V]:
            """The value of every possible CPU."""

        @values.setter
        def values(self, given: list[V]) -> None: ...


class PerCpuVariable(OnMap, PerCpuDecl):
    """What `PerCpuGlobal` declares."""

    @property
    def values(self) -> PerCpu[Any]:
        """The value of every possible CPU: `seen.values.sum()`."""
        found: PerCpu[Any] = self.live[0]
        return found

    @values.setter
    def values(self, given: list[Any]) -> None:
        self.live[0] = given

    @property
    def value(self) -> Any:
        """The running CPU's, in programs."""
        name = self.name or "it"
        raise MapError(f"{name}.value is a CPU's own; in user space read {name}.values")


@overload
def PerCpuGlobal(  # type: ignore[overload-overlap]  # as Global's
    type: type[S], *, name: str = ""
) -> PerCpuRef[S]: ...
@overload
def PerCpuGlobal(type: object, *, name: str = "") -> PerCpuRef[int]: ...
def PerCpuGlobal(type: Any, *, name: str = "") -> Any:  # noqa: A002, N802 - reads as a type
    """Declare a variable of which every CPU has its own, zero at first.

    In programs `.value` is that of the CPU which runs: `seen.value += 1` needs no atomic
    operation. In user space `.values` lists those of all CPUs.

    Raises:
        SpecError: `type` is no type of a fixed size.
    """
    return PerCpuVariable(type, name=name)


def initial(declared: GlobalDecl, field: str) -> Any:
    """What a field, or the whole (`value`), is going to be when it is loaded."""
    found = declared.initial
    if found is None:
        found = declared.type.zero()
    return found if field == "value" else getattr(found, field)


def set_initial(declared: GlobalDecl, field: str, value: object) -> None:
    """Set what a constant is going to be."""
    whole = initial(declared, "value")
    if field == "value":
        whole = value
    else:
        setattr(whole, field, value)
    encoder(declared.type)(whole)  # refuses what does not fit
    declared.initial = whole


def read_element(home: Home, declared: GlobalDecl, index: int) -> Any:
    """An element of an array."""
    return read(home, declared)[index]


def write_element(home: Home, declared: GlobalDecl, index: int, value: object) -> None:
    """Set an element of an array; the bytes of the others stay as they are."""
    kind = declared.type
    if not isinstance(kind, ArrayType):
        raise TypeError(f"global {declared.name} is no array")
    item, at = kind.element, range(kind.count)[index]
    _write_part(home, declared, f"[{at}]", at * item.size, item, value)


def read(home: Home, declared: GlobalDecl, field: str = "value") -> Any:
    """The value of a field, or of the whole (`value`), as it is now."""
    section = home.section(declared)
    data = section.read(declared.name)
    if field == "value":
        return decoder(declared.type)(data)
    assert isinstance(declared.type, StructType)
    found = declared.type.fields[field]
    if isinstance(found.type, BitsType):
        return getattr(decoder(declared.type)(data), field)
    return decoder(found.type)(data[found.offset : found.offset + found.type.size])


def write(home: Home, declared: GlobalDecl, field: str, value: object) -> None:
    """Set a field, or the whole (`value`)."""
    section = home.section(declared)
    if field == "value":
        section.write(declared.name, encoder(declared.type)(value))
        return
    assert isinstance(declared.type, StructType)
    found = declared.type.fields[field]
    if isinstance(found.type, BitsType):
        # It shares its bytes with others.
        struct = decoder(declared.type)(home.section(declared).read(declared.name))
        setattr(struct, field, value)
        home.section(declared).write(declared.name, encoder(declared.type)(struct))
        return
    _write_part(home, declared, f".{field}", found.offset, found.type, value)


def _write_part(
    home: Home,
    declared: GlobalDecl,
    name: str,
    offset: int,
    type_: ValueType,
    value: object,
) -> None:
    section = home.section(declared)
    whole = section.variables[declared.name]
    part = f"{declared.name}{name}"
    # A section writes whole variables, so the field becomes one.
    section.variables[part] = whole._replace(
        name=part, offset=whole.offset + offset, size=type_.size
    )
    section.write(part, encoder(type_)(value))


def _has(declared: GlobalDecl, field: str) -> bool:
    if field == "value":
        return True
    found = declared.__dict__.get("type")
    return isinstance(found, StructType) and field in found.fields
