"""struct_ops: the kernel's tables of callbacks, as classes whose functions are programs.

class Calm(StructOps, kernel="tcp_congestion_ops"):
name: str = chars(16, default="bw_calm")

@staticmethod
def ssthresh(sk: tcp_sock) -> u32:
return 2

with Calm.attach():      # setsockopt(TCP_CONGESTION, "bw_calm") finds it
...
"""

from __future__ import annotations

from beewire.bpf.author.bound import OnMap
from beewire.bpf.author.program import Program
from beewire.bpf.author.signature import check_signature
from beewire.bpf.btf import types as btf
from beewire.bpf.lang.btf_types import to_btf
from beewire.bpf.lang.composites import StructType
from beewire.bpf.lang.structs import Struct
from beewire.bpf.lang.trace_contexts import BtfArguments
from beewire.bpf.lang.types import ValueType
from beewire.bpf.object import MapSpec
from beewire.bpf.object.kinds import MapKind, ProgramKind
from beewire.errors import SpecError
from beewire.hints import TYPE_CHECKING, Any, ClassVar, FunctionType

if TYPE_CHECKING:
    from beewire.bpf.kernel import Link

_LINK = 1 << 13  # BPF_F_LINK: a link registers it, and its end takes it back
_SLEEPABLE = 1 << 4  # BPF_F_SLEEPABLE


class StructOpsTable(OnMap):
    """The map that holds a table: its data, and the programs that are its members."""

    kind = MapKind.STRUCT_OPS

    def __init__(self, kernel: str, name: str, data: StructType, flags: int) -> None:
        super().__init__(1, flags=flags, name=name)
        self.kernel = kernel
        self.data = data
        self.members: dict[str, Program[Any]] = {}

    @property
    def stored(self) -> tuple[ValueType | None, ValueType | None]:
        """Nothing that user space reads or writes by itself."""
        return None, None

    @property
    def programs(self) -> list[Program[Any]]:
        """Those that are members."""
        return list(self.members.values())

    def map_spec(self) -> MapSpec:
        """The table as an object holds it: members by name, data first."""
        members = [
            btf.Member(field.name, to_btf(field.type), field.offset * 8)
            for field in self.data.fields.values()
        ]
        content = bytearray(self.data.zero().to_bytes())
        content.extend(bytes(-len(content) % 8))
        initial: dict[int, str] = {}
        callback = btf.Ptr(btf.FuncProto(None))
        for name, program in self.members.items():
            initial[len(content)] = program.name
            members.append(btf.Member(name, callback, len(content) * 8))
            content.extend(bytes(8))
        return MapSpec(
            self.name,
            kind=self.kind,
            key_size=4,
            value_size=len(content),
            max_entries=1,
            flags=self.flags,
            value=btf.Struct(self.kernel, len(content), tuple(members)),
            initial=initial,
            content=bytes(content),
        )


class StructOps:
    """A table of callbacks that a subsystem of the kernel calls (Linux 5.6).

    `kernel` is the kernel's struct: tcp_congestion_ops, sched_ext_ops, hid_bpf_ops, ...
    Functions are its members, each a program whose parameters are the member's;
    annotated fields are its data. Those in `sleepable` may wait. Without `link` the
    table stays registered until its map goes (before Linux 6.4).
    """

    table: ClassVar[StructOpsTable]

    def __init_subclass__(
        cls,
        *,
        kernel: str,
        sleepable: tuple[str, ...] = (),
        link: bool = True,
    ) -> None:
        """Make programs of the functions.

        Raises:
            CompileError: A function cannot be a program.
            SpecError: There is none, or a field is of no type.
        """
        own = vars(cls)
        fields = {key: own[key] for key in own.get("__annotations__", {}) if key in own}
        fields["__annotations__"] = dict(own.get("__annotations__", {}))
        fields["__module__"] = cls.__module__
        data: type[Struct] = type(f"{cls.__name__}Data", (Struct,), fields)
        flags = _LINK if link else 0
        cls.table = StructOpsTable(kernel, cls.__name__, data.__layout__, flags)
        for name, value in own.items():
            function = value.__func__ if isinstance(value, staticmethod) else value
            if isinstance(function, FunctionType):
                program = _member(cls.table, name, function, name in sleepable)
                cls.table.members[name] = program
        if not cls.table.members:
            raise SpecError(f"{cls.__name__} has no functions: members of {kernel}")

    @classmethod
    def attach(cls) -> Link:
        """Register the table, until the Link is closed.

        Raises:
            NotSupported: This kernel has no such table.
            SpecError: A function, or field, is no member of it.
            VerifierError: The kernel refuses a program.
            KernelError: It refuses the table; EEXIST: one of this name is there.
        """
        from beewire.bpf.author.home import implicit  # noqa: PLC0415 - loads the kernel room
        from beewire.bpf.kernel import attach_struct_ops  # noqa: PLC0415

        home = implicit()
        home.program(cls.table.programs[0])
        return attach_struct_ops(home.map(cls.table))

    @classmethod
    def replace(cls, link: Link) -> None:
        """Put this table in the place of the one that `link` registers, without a gap.

        Raises:
            NotSupported: The subsystem, or a kernel before Linux 6.4, cannot do so.
            AttachError: It is a table of another kind, or has another name.
            VerifierError: The kernel refuses a program.
        """
        from beewire.bpf.author.home import implicit  # noqa: PLC0415 - loads the kernel room

        home = implicit()
        home.program(cls.table.programs[0])
        link.update(home.map(cls.table))  # type: ignore[arg-type]  # a StructOpsLink takes tables


def _member(
    table: StructOpsTable,
    name: str,
    function: FunctionType,
    sleepable: bool,  # noqa: FBT001 - passed on
) -> Program[Any]:
    section = f"struct_ops{'.s' if sleepable else ''}/{name}"
    program: Program[Any] = Program(
        check_signature(function, "struct_ops", BtfArguments),
        kind=ProgramKind.STRUCT_OPS,
        section=section,
        context=BtfArguments,
        name=f"{table.name}_{name}",
        attach_to=name,
        flags=_SLEEPABLE if sleepable else 0,
    )
    program.table = table
    return program
