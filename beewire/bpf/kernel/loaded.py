"""Loaded: what an ObjectSpec became in the kernel."""

from beewire.bpf.kernel.descriptor import Closing, Descriptor
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.kernel.program import Program
from beewire.bpf.kernel.section import Section
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.object import ObjectSpec


class Loaded(Closing):
    """Programs, maps and data sections by name; a context manager that closes them.

    Maps that were given to `load` belong to the giver and stay open. Links keep their
    programs, and programs their maps, alive in the kernel after `close`.
    """

    __slots__ = ("_owned", "maps", "name", "programs", "sections", "spec")

    def __init__(self, name: str, spec: "ObjectSpec | None" = None) -> None:
        self.name = name
        self.spec = spec  # what it was loaded from
        self.programs: dict[str, Program] = {}
        self.maps: dict[str, AnyMap] = {}
        self.sections: dict[str, Section] = {}
        self._owned: list[Descriptor | Section] = []

    def __repr__(self) -> str:
        return (
            f"<Loaded {self.name!r}: {len(self.programs)} programs, "
            f"{len(self.maps)} maps>"
        )

    def own(self, resource: Descriptor | Section) -> None:
        """Close `resource` together with this object."""
        self._owned.append(resource)

    def close(self) -> None:
        """Close every descriptor that loading created. Closing twice does nothing."""
        while self._owned:
            self._owned.pop().close()
