"""ObjectSpec: a BPF object as plain, mutable data. No file descriptor, no kernel."""

from beewire.bpf.btf import types as btf
from beewire.bpf.isa import Insn
from beewire.bpf.object.kinds import AttachKind, MapKind, ProgramKind
from beewire.rows import Row


class RelocationKind:
    """What an instruction of a program refers to by name."""

    MAP = "map"  # LD_IMM64 <- the map's file descriptor
    GLOBAL = "global"  # LD_IMM64 <- address of a section, or of a variable, + offset
    KFUNC = "kfunc"  # CALL <- BTF id of a kernel function
    KSYM = "ksym"  # LD_IMM64 <- BTF id or address of a kernel variable or function
    SUBPROGRAM = "subprogram"  # CALL, LD_IMM64 <- another function of this object


class Relocation(Row):
    """The instruction at `slot` refers to `symbol`, `offset` bytes into it.

    Slots count 8-byte units from the program's start, as jumps do: LD_IMM64 fills two.
    Until it is bound, the instruction has the pseudo source of its kind, and an imm that
    says nothing: 0 in a LD_IMM64, -1 in a CALL.
    """

    slot: int
    kind: str
    symbol: str
    offset: int = 0


class LineInfo(Row):
    """From `slot` on, instructions stem from this source position (`bpf_line_info`).

    `line` and `column` count from 1; `text` is the source line without its newline.
    """

    slot: int
    file: str
    line: int
    column: int
    text: str


class CoreRelo(Row):
    """One CO-RE record (`struct bpf_core_relo`): the kernel patches `slot`.

    `type` is the local root type, `access` the path of member indices, such as "0:1";
    `kind` is `enum bpf_core_relo_kind` (0 = byte offset of the field).
    """

    slot: int
    type: "btf.Type"
    access: str
    kind: int


class Argument(Row):
    """A parameter of a program, as its author typed it.

    `struct` is the kernel struct that it points to, "" for an integer of `size` bytes.
    """

    name: str
    struct: str
    size: int
    signed: bool
    nullable: bool


class ProgramSpec:
    """One program: instructions, and all that loading it needs to know.

    `section` is libbpf's name for the hook ("tracepoint/sched/sched_process_exec");
    `attach_to` is the part of it that names a target, or "". `signature` is the BTF
    function (`btf.Func` over a `btf.FuncProto`); None leaves out func_info. A function
    that programs call is of kind UNSPEC, in the section ".text". A program of kind
    UNSPEC elsewhere stands in a section that libbpf knows nothing of: give it a kind, and
    it loads. With `autoload` off, as in "?xdp", a program is loaded by nobody.
    `arguments` are what the author expects of the hook: loading compares them with the
    kernel's types. `scratch` is the map for locals that the stack does not hold; the
    object has it too.
    """

    __slots__ = (
        "arguments",
        "attach_kind",
        "attach_to",
        "autoload",
        "core_relos",
        "flags",
        "insns",
        "kind",
        "license",
        "lines",
        "name",
        "relocations",
        "scratch",
        "section",
        "signature",
    )

    def __init__(  # noqa: PLR0913 - a record of the object format
        self,
        name: str,
        *,
        kind: ProgramKind,
        section: str,
        insns: tuple[Insn, ...],
        attach_kind: AttachKind | None = None,
        attach_to: str = "",
        relocations: tuple[Relocation, ...] = (),
        lines: tuple[LineInfo, ...] = (),
        core_relos: tuple[CoreRelo, ...] = (),
        signature: "btf.Func | None" = None,
        license: str = "Dual BSD/GPL",  # noqa: A002 - the kernel's word
        flags: int = 0,
        autoload: bool = True,
        arguments: tuple[Argument, ...] = (),
        scratch: "MapSpec | None" = None,
    ) -> None:
        self.arguments = arguments
        self.name = name
        self.kind = kind
        self.section = section
        self.autoload = autoload
        self.scratch = scratch
        self.insns = insns
        self.attach_kind = attach_kind
        self.attach_to = attach_to
        self.relocations = relocations
        self.lines = lines
        self.core_relos = core_relos
        self.signature = signature
        self.license = license
        self.flags = flags


class MapSpec:
    """One map. Sizes in bytes; `key` and `value` are BTF types where they are known.

    `extra` is what a kind wants beyond sizes (`map_extra`: hash functions of a Bloom
    filter, address of an arena); a `pinned` map is shared by its name below a bpffs.

    `initial` names what the map holds when it is loaded: by index, the programs of a
    program array, or the maps of a map of maps; by byte offset into `content`, the
    programs of a STRUCT_OPS map, whose `value` is the struct as the object knows it. With
    `autocreate` off, as in "?.struct_ops", a map is made by nobody.
    """

    __slots__ = (
        "autocreate",
        "content",
        "extra",
        "flags",
        "initial",
        "inner",
        "key",
        "key_size",
        "kind",
        "max_entries",
        "name",
        "numa_node",
        "pinned",
        "value",
        "value_size",
    )

    def __init__(  # noqa: PLR0913 - a record of the object format
        self,
        name: str,
        *,
        kind: MapKind,
        key_size: int = 0,
        value_size: int = 0,
        max_entries: int = 0,
        flags: int = 0,
        key: "btf.Type | None" = None,
        value: "btf.Type | None" = None,
        inner: "MapSpec | None" = None,
        extra: int = 0,
        numa_node: int = 0,
        pinned: bool = False,
        initial: dict[int, str] | None = None,
        content: bytes = b"",
        autocreate: bool = True,
    ) -> None:
        self.name = name
        self.kind = kind
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries
        self.flags = flags
        self.key = key
        self.value = value
        self.inner = inner
        self.extra = extra
        self.numa_node = numa_node
        self.pinned = pinned
        self.initial = initial or {}
        self.content = content
        self.autocreate = autocreate


class Variable(Row):
    """One global variable of a data section; `offset` and `size` in bytes.

    A `weak` one, in `.kconfig`, is zero where the kernel's configuration lacks it. `tags`
    are what the source says of it beyond its type, such as "contains:node:link".
    """

    name: str
    offset: int
    size: int
    type: "btf.Type"
    weak: bool = False
    tags: tuple[str, ...] = ()


class DataSection:
    """`.data`, `.bss` or `.rodata`: becomes a one-element array map when loaded.

    Two more are filled by whoever loads: `.kconfig` with the kernel's configuration, and
    `.addr_space.1` is the beginning of the object's arena.
    """

    __slots__ = ("content", "name", "variables")

    def __init__(
        self, name: str, content: bytearray, variables: list[Variable]
    ) -> None:
        self.name = name
        self.content = content
        self.variables = variables


class ObjectSpec:
    """Programs, maps and data sections by name, in the order they were defined.

    `externs` gives the types of what the object takes from the kernel (KFUNC and KSYM
    relocations); loading into the running kernel does without, libbpf does not. Those
    that are also in `weak` are null where the kernel lacks them.

    `tags` are what the source says of functions, variables and members beyond their type
    (`btf_decl_tag`), such as "arg:nonnull"; `types` are those that tags name. An object of another byte order than this
    machine's is `big_endian`: it can be looked at. `origin` is the file that it was read
    from, which policies go by.
    """

    __slots__ = (
        "big_endian",
        "externs",
        "license",
        "maps",
        "name",
        "origin",
        "programs",
        "sections",
        "tags",
        "types",
        "weak",
    )

    def __init__(self, name: str, license: str = "Dual BSD/GPL") -> None:  # noqa: A002
        self.name = name
        self.license = license
        self.programs: dict[str, ProgramSpec] = {}
        self.maps: dict[str, MapSpec] = {}
        self.sections: dict[str, DataSection] = {}
        self.externs: dict[str, btf.Func | btf.Var] = {}
        self.weak: set[str] = set()
        self.tags: tuple[btf.DeclTag, ...] = ()
        self.types: tuple[btf.Type, ...] = ()
        self.big_endian = False
        self.origin = b""
