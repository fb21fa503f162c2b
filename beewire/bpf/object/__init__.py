"""The waist: a BPF object as plain values, and as the ELF file that libbpf loads.

    spec = read(Path("prog.o").read_bytes())
    spec.programs["on_exec"].section        # 'tracepoint/sched/sched_process_exec'
    Path("copy.o").write_bytes(write(spec))

spec        ObjectSpec and its parts: programs, maps, data sections
target      what the kernel that will run it has
kinds       numbers of maps, programs and attach points
sections    names of sections <-> hooks
check       what an ObjectSpec must be like to become a file
writer      ObjectSpec -> file
tables      ... what maps hold from the start (struct_ops among them)
reader      file -> ObjectSpec
source      ... the file, and who is where in it
code        ... programs, and what they refer to
data        ... variables
initial     ... what maps hold from the start
legacy      ... maps of before BTF
mapdefs     MapSpec <-> the BTF that describes it in a file
core        apply CO-RE records for a kernel whose BTF is given
combine     several programs as one that calls them
elf         the container: sections, symbols, relocations

All but `spec`, `kinds` and `target` is imported on first use: to compile and load needs no file.
"""

from beewire.bpf.object.kinds import AttachKind, MapKind, ProgramKind
from beewire.bpf.object.spec import (
    CoreRelo,
    DataSection,
    LineInfo,
    MapSpec,
    ObjectSpec,
    ProgramSpec,
    Relocation,
    RelocationKind,
    Variable,
)
from beewire.bpf.object.target import FEATURES, PLAIN, Target, parse_target
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.object.core import apply_core, relocate_for
    from beewire.bpf.object.reader import read
    from beewire.bpf.object.sections import Hook, parse_section, section_name
    from beewire.bpf.object.writer import write

__all__ = [
    "FEATURES",
    "PLAIN",
    "AttachKind",
    "CoreRelo",
    "DataSection",
    "Hook",
    "LineInfo",
    "MapKind",
    "MapSpec",
    "ObjectSpec",
    "ProgramKind",
    "ProgramSpec",
    "Relocation",
    "RelocationKind",
    "Target",
    "Variable",
    "apply_core",
    "parse_section",
    "parse_target",
    "read",
    "relocate_for",
    "section_name",
    "write",
]


def __getattr__(name: str) -> object:
    if name == "read":
        from beewire.bpf.object.reader import read  # noqa: PLC0415

        return read
    if name == "write":
        from beewire.bpf.object.writer import write  # noqa: PLC0415

        return write
    if name in ("apply_core", "relocate_for"):
        from beewire.bpf.object import core  # noqa: PLC0415

        return getattr(core, name)
    if name in ("Hook", "parse_section", "section_name"):
        from beewire.bpf.object import sections  # noqa: PLC0415

        return getattr(sections, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
