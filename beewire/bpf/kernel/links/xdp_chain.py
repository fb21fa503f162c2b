"""Several XDP programs on one interface, in an order of our own.

The kernel runs one XDP program of an interface. A chain makes one program of all its
members, by calls from function to function, and puts it in the place of the one before:
packets meet the old chain or the new one, never something between. It needs no trampolines
(freplace), so it works on every kernel with calls of functions (Linux 4.16).

Programs run by priority, lower first; those of one priority in the order in which they
came. After a result in its `go_on` (XDP_PASS, unless told otherwise) the next one runs;
any other is the chain's. Where all go on, the packet passes.
"""

from beewire.bpf.kernel.descriptor import Closing
from beewire.bpf.kernel.links.base import Link
from beewire.bpf.kernel.links.xdp import XdpMode, attach_xdp
from beewire.bpf.kernel.load import load
from beewire.bpf.kernel.loaded import Loaded
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.object import ProgramKind
from beewire.bpf.object.combine import Member, combine, prefix
from beewire.errors import AttachError, VerifierError
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.object import ProgramSpec

XDP_PASS = 2
_NAME = "bw_xdp_chain"


class ChainMember(Closing):
    """A program in a chain; a context manager whose end takes it out."""

    __slots__ = ("_chain", "_member", "loaded", "name", "priority")

    def __init__(
        self, chain: "XdpChain", loaded: Loaded, member: Member, priority: int
    ) -> None:
        self._chain = chain
        self._member = member
        self.loaded = loaded
        self.name = member.name
        self.priority = priority

    def __repr__(self) -> str:
        return f"<ChainMember {self.name!r} at priority {self.priority}>"

    @property
    def member(self) -> Member:
        """What is combined."""
        return self._member

    def maps(self, place: int) -> dict[str, AnyMap]:
        """Its maps and sections under the names that it has at `place`."""
        sections = {name: each.map for name, each in self.loaded.sections.items()}
        live = {**self.loaded.maps, **sections}
        return {prefix(place) + name: each for name, each in live.items()}

    def close(self) -> None:
        """Take it out of the chain. Closing twice does nothing."""
        self._chain.remove(self)


class XdpChain(Closing):
    """The XDP programs of one interface; a context manager that ends all of them.

    The interface is one of this thread's network namespace when the first program comes.
    What becomes of it when the process dies is what becomes of its link: it ends, unless
    it is pinned, or `as_link=False`.
    """

    def __init__(
        self,
        interface: str | int,
        mode: XdpMode = XdpMode.AUTO,
        *,
        as_link: bool = True,
    ) -> None:
        self.interface = interface
        self.mode = mode
        self.link: Link | None = None
        self._as_link = as_link
        self._members: list[ChainMember] = []

    def __repr__(self) -> str:
        return f"<XdpChain on {self.interface}: {', '.join(self.order) or 'empty'}>"

    @property
    def order(self) -> tuple[str, ...]:
        """The names of the programs, as they run."""
        return tuple([each.name for each in self._members])

    def add_loaded(
        self,
        loaded: Loaded,
        name: str,
        *,
        priority: int = 50,
        go_on: tuple[int, ...] = (XDP_PASS,),
    ) -> ChainMember:
        """Let the program `name` of `loaded` run in the chain, with the maps that it has.

        `loaded` stays open as long as it is in the chain, or longer.

        Raises:
            AttachError: it is no XDP program, or the interface refuses the chain.
            VerifierError: the programs do not fit together: all of them share one stack
                of 512 bytes, and the kernel's limit of instructions.
            NotPermitted: CAP_NET_ADMIN or CAP_BPF is missing.
        """
        spec = loaded.spec
        found = spec.programs.get(name) if spec else None
        if spec is None or found is None or found.kind is not ProgramKind.XDP:
            kind = found.section if found else "nothing that was loaded"
            raise AttachError(f"a chain is of XDP programs: {name!r} is {kind}")
        if any(found.flags != each.flags for each in self._programs()):
            raise AttachError(
                f"program {name!r} and the chain differ in whether packets come in pieces "
                "(xdp.frags): one chain is of one kind"
            )
        made = ChainMember(self, loaded, Member(spec, name, tuple(go_on)), priority)
        place = len([each for each in self._members if each.priority <= priority])
        self._put([*self._members[:place], made, *self._members[place:]])
        return made

    def _programs(self) -> "list[ProgramSpec]":
        return [each.member.spec.programs[each.name] for each in self._members]

    def remove(self, member: ChainMember) -> None:
        """Take a program out; what is not in the chain is no error."""
        if member in self._members:
            self._put([each for each in self._members if each is not member])

    def _put(self, members: list[ChainMember]) -> None:
        """Make these the chain, at once; where it fails the old one stays."""
        if not members:
            self.close()
            return
        spec = combine([each.member for each in members], _NAME, XDP_PASS)
        live: dict[str, AnyMap] = {}
        for place, member in enumerate(members):
            live |= member.maps(place)
        known = spec.maps.keys() | spec.sections.keys()
        try:
            loaded = load(spec, maps={n: m for n, m in live.items() if n in known})
        except VerifierError as error:
            names = ", ".join([each.name for each in members])
            error.add_note(f"while making one program of the chain {names}")
            raise
        with loaded:
            program = loaded.programs[_NAME]
            if self.link is None:
                self.link = attach_xdp(
                    program, self.interface, self.mode, as_link=self._as_link
                )
            else:
                self.link.update(program)
        self._members = members

    def close(self) -> None:
        """End the chain. Closing twice does nothing."""
        link, self.link = self.link, None
        self._members = []
        if link is not None:
            link.close()
