"""One object while it is compiled: the subprograms that its programs share."""

from beewire.bpf import ir
from beewire.bpf.btf import types as btf
from beewire.bpf.lang.btf_types import in_ascii
from beewire.bpf.lang.decl import COUNTERS, ProgramDecl
from beewire.bpf.lang.values import Value
from beewire.hints import TYPE_CHECKING, Any, Iterable

if TYPE_CHECKING:
    from beewire.bpf.codegen import Code


class Subprogram:
    """A function that is compiled once: its IR, and what a call of it yields.

    `result` is of the kind of what it returns. The caller gives it `in_memory` bytes for
    that, as the last argument, where it is in no register. One that `stops` may end the
    program: it returns 1 then, and else 0. `function` is used up by code generation.
    """

    __slots__ = (
        "chooses",
        "chosen",
        "code",
        "function",
        "helpers",
        "in_memory",
        "is_global",
        "python",
        "result",
        "signature",
        "stops",
        "tags",
    )

    def __init__(
        self,
        python: Any,
        function: ir.Function,
        *,
        is_global: bool,
    ) -> None:
        self.python = python
        self.function = function
        self.is_global = is_global
        # The compiler's own choice, which it may take back.
        self.chosen = False
        self.in_memory = 0
        self.stops = False
        # Whether it may go one way or another.
        self.chooses = False
        # The helpers that it calls (bit = number).
        self.helpers = 0
        # Its instructions, from code generation on.
        self.code: Code | None = None
        self.result: Value
        self.signature: btf.Func
        self.tags: tuple[btf.DeclTag, ...] = ()

    @property
    def name(self) -> str:
        """What it is called in the object."""
        return self.function.name


# The section of texts that the kernel wants in memory that nobody may write.
CONSTANTS = ".rodata.texts"


class Unit:
    """The functions of one object.

    `taken` are names that the object has for other things; `optimize` names the back end
    that generates the code: "llvm", or "" for our own. `constants` is the content of the
    section CONSTANTS. `dropped` are the counters in the section `counters`.
    """

    __slots__ = (
        "constants",
        "counters",
        "dropped",
        "found",
        "inlined",
        "made",
        "names",
        "optimize",
        "outlined",
        "place_size",
        "sizes",
        "targets",
    )

    def __init__(self, taken: Iterable[str] = (), optimize: str = "") -> None:
        self.constants = bytearray()
        self.dropped: list[str] = []
        self.counters = COUNTERS[0]
        self.optimize = optimize
        self.made: list[Subprogram] = []
        # By function and kinds of arguments: those that calls may use.
        self.found: dict[tuple[object, ...], Subprogram] = {}
        self.names = set(taken)
        # How many operations a function was, when it was compiled into a caller.
        self.sizes: dict[Any, int] = {}
        # Unmarked functions that become subprograms, and those that cannot.
        self.outlined: set[Any] = set()
        self.inlined: set[Any] = set()
        # Bytes that each place in the scratch map has at least.
        self.place_size = 0
        # The programs that others go to: arrays by name, one for each kind of programs.
        self.targets: dict[str, list[ProgramDecl]] = {}

    def target(self, program: ProgramDecl, kind: object) -> tuple[str, int]:
        """The array that has `program`, and its index there."""
        for name, programs in self.targets.items():
            if (programs[0].kind, programs[0].attach_kind) == kind:
                if program not in programs:
                    programs.append(program)
                return name, programs.index(program)
        name = self.name("programs")
        self.targets[name] = [program]
        return name, 0

    def drop_counter(self, name: str) -> int:
        """Where the counter of this name, of 8 bytes, lies in `counters`."""
        if name not in self.dropped:
            self.dropped.append(name)
        return self.dropped.index(name) * 8

    def by_name(self) -> dict[str, Subprogram]:
        """The subprograms, in the order in which they were compiled."""
        return {made.name: made for made in self.made}

    def tags(self, names: Iterable[str]) -> tuple[btf.DeclTag, ...]:
        """The tags of the subprograms of these names."""
        known = self.by_name()
        return tuple([tag for n in names if n in known for tag in known[n].tags])

    def name(self, wanted: str) -> str:
        """A name for a function that nothing else in the object has.

        Raises:
            SpecError: It is not ASCII.
        """
        name, count = in_ascii(wanted), 1
        while name in self.names:
            count += 1
            name = f"{wanted}_{count}"
        self.names.add(name)
        return name
