"""Data sections: the global variables of a loaded object."""

import sys

from beewire.bpf.btf import Int
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.kernel.maps.create import RDONLY_PROG
from beewire.bpf.object import ObjectSpec, Variable
from beewire.errors import EncodingError, MapError, SpecError
from beewire.hints import TYPE_CHECKING, Mapping

if TYPE_CHECKING:
    from mmap import mmap


class Section:
    """The variables of one section, by name, in memory that programs share.

    A read or write touches the bytes of that variable only; of one with 1, 2, 4 or 8
    bytes nobody sees a half.
    """

    __slots__ = ("_memory", "map", "variables")

    def __init__(self, section_map: AnyMap, variables: list[Variable]) -> None:
        self.map = section_map
        self.variables = {variable.name: variable for variable in variables}
        self._memory: mmap | memoryview | None = None

    def read(self, name: str) -> bytes:
        """The bytes of a variable as they are now."""
        variable = self._variable(name)
        end = variable.offset + variable.size
        return bytes(self._mapped()[variable.offset : end])

    def write(self, name: str, value: int | bytes) -> None:
        """Set a variable.

        Raises:
            MapError: the section is read-only, as `.rodata` is once loaded.
            EncodingError: the value does not fit the variable.
        """
        variable = self._variable(name)
        if self.map.spec.flags & RDONLY_PROG:
            raise MapError(
                f"{name!r} is constant once loaded: give it in load(globals=...)"
            )
        place(self._mapped(), variable, value)

    @property
    def memory(self) -> "mmap | memoryview":
        """The bytes of the section; of an arena, all of it."""
        return self._mapped()

    def close(self) -> None:
        """Give the memory back; the map stays."""
        memory, self._memory = self._memory, None
        if memory is not None and not isinstance(memory, memoryview):
            memory.close()

    def fill(self, content: bytes) -> None:
        """Set all variables at once."""
        if any(content):  # pages of zeros need not be touched
            self._mapped()[: len(content)] = content

    def _variable(self, name: str) -> Variable:
        try:
            return self.variables[name]
        except KeyError:
            known = ", ".join(self.variables) or "none"
            raise MapError(f"no variable {name!r} here; there are: {known}") from None

    def _mapped(self) -> "mmap | memoryview":
        if self._memory is None:
            # Programs that set no variable from user space need not import it.
            from mmap import MAP_SHARED, PROT_READ, PROT_WRITE, mmap  # noqa: PLC0415 - not on the start-up path

            constant = self.map.spec.flags & RDONLY_PROG
            self._memory = mmap(
                self.map.fd,
                self.map.spec.value_size,
                MAP_SHARED,
                PROT_READ if constant else PROT_READ | PROT_WRITE,
            )
        return self._memory


def place(
    content: "bytearray | mmap | memoryview", variable: Variable, value: int | bytes
) -> None:
    """Put `value` where `variable` lies in `content`.

    Raises:
        EncodingError: bytes of another length, or an integer out of range.
    """
    name, size = variable.name, variable.size
    if isinstance(value, int):
        signed = isinstance(variable.type, Int) and variable.type.signed
        try:
            value = value.to_bytes(size, sys.byteorder, signed=signed)
        except OverflowError:
            raise EncodingError(
                f"{value!r} does not fit variable {name!r} of {size} bytes"
            ) from None
    if len(value) != size:
        raise EncodingError(f"variable {name!r} is {size} bytes long, not {len(value)}")
    content[variable.offset : variable.offset + size] = value


def initial_content(
    spec: ObjectSpec, values: Mapping[str, int | bytes]
) -> dict[str, bytearray]:
    """The content of every section, with `values` put into their variables.

    Raises:
        SpecError: a value for a variable that the object does not have.
        NotSupported: an option that the kernel is configured without.
    """
    contents = {name: bytearray(each.content) for name, each in spec.sections.items()}
    places = {
        variable.name: (section.name, variable)
        for section in spec.sections.values()
        for variable in section.variables
    }
    for name, value in values.items():
        if name not in places:
            known = ", ".join(sorted(places)) or "none"
            raise SpecError(
                f"the object has no global variable {name!r}; there are: {known}"
            )
        section, variable = places[name]
        place(contents[section], variable, value)
    configuration = spec.sections.get(".kconfig")
    if configuration is not None:
        from beewire.bpf.kernel import kconfig  # noqa: PLC0415 - rare

        kconfig.fill(configuration, contents[configuration.name], values)
    return contents
