"""Python source of programs -> typed IR; and the types and declarations they use.

    decl = ProgramDecl(function, kind=ProgramKind.XDP, section="xdp", context=XdpContext)
    spec = compile_spec(decl)

`types`, `structs`: values in memory. `contexts`: what hooks pass. `constants`: what they
are answered. `calls`: BPF helper functions. `decl`: maps, globals, programs. The compiler
itself (`program` and the modules below it) is imported when the first program is compiled.
"""

from beewire.bpf.lang.contexts import Ref
from beewire.bpf.lang.decl import (
    Global,
    GlobalDecl,
    Keyed,
    MapDecl,
    PerCpuDecl,
    ProgramDecl,
    Ring,
    Sockets,
    Storage,
)
from beewire.bpf.lang.structs import Kernel, Struct
from beewire.bpf.lang.types import (
    array,
    be16,
    be32,
    be64,
    bits,
    chars,
    embedded,
    field,
    i8,
    i16,
    i32,
    i64,
    overlay,
    pointer,
    u8,
    u16,
    u32,
    u64,
)
from beewire.bpf.object import PLAIN, Target
from beewire.hints import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from beewire.bpf import ir
    from beewire.bpf.lang.reference import World
    from beewire.bpf.lang.reference.entry import Given
    from beewire.bpf.lang.unions import Union
    from beewire.bpf.lang.unit import Unit
    from beewire.bpf.object import DataSection, ProgramSpec

__all__ = [
    "Global",
    "GlobalDecl",
    "Kernel",
    "Keyed",
    "MapDecl",
    "PerCpuDecl",
    "ProgramDecl",
    "Ref",
    "Ring",
    "Sockets",
    "Storage",
    "Struct",
    "Union",
    "World",
    "array",
    "be16",
    "be32",
    "be64",
    "bits",
    "chars",
    "compile_program",
    "compile_spec",
    "embedded",
    "evaluate",
    "field",
    "i8",
    "i16",
    "i32",
    "i64",
    "lay_out_globals",
    "overlay",
    "pointer",
    "u8",
    "u16",
    "u32",
    "u64",
]


def compile_program(decl: ProgramDecl, unit: "Unit | None" = None) -> "ir.Function":
    """The IR of one program.

    Raises:
        CompileError: The source cannot be compiled; it says where and why.
    """
    from beewire.bpf.lang import program  # noqa: PLC0415 - the compiler loads late

    return program.compile_program(decl, unit)


def compile_spec(
    decl: ProgramDecl, target: Target = PLAIN, unit: "Unit | None" = None
) -> "ProgramSpec":
    """One program, compiled for kernels that have what `target` says.

    What its object has besides is in `unit`, which gets the subprograms that it calls.

    Raises:
        CompileError: The source cannot be compiled; it says where and why.
    """
    from beewire.bpf.lang import program  # noqa: PLC0415 - the compiler loads late

    return program.compile_spec(decl, target, unit)


def evaluate(
    function: ProgramDecl | Callable[..., object],
    *args: "Given",
    world: "World | None" = None,
) -> int:
    """Run a program, or a function of integers, in plain Python by the language's rules.

    A program is given its packet (a bytearray, which it may write) or its context's
    fields as a dict, one of a typed hook its arguments (kernel structs as dicts), a
    function its integers. What it does to maps, globals and ring
    buffers happens in `world`, which also says what helpers answer; without one it is
    forgotten. Returns what the function returns, of its annotated type.

    Raises:
        CompileError: The source cannot be compiled.
        BeewireError: It uses what is not known here: the message says what.
    """
    from beewire.bpf.lang import reference  # noqa: PLC0415 - tests only

    return reference.evaluate(function, *args, world=world)


def __getattr__(name: str) -> object:
    # What few modules ask for, and what only tests do.
    if name == "Union":
        from beewire.bpf.lang.unions import Union  # noqa: PLC0415

        return Union
    if name == "World":
        from beewire.bpf.lang.reference import World  # noqa: PLC0415

        return World
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def lay_out_globals(declared: dict[str, GlobalDecl]) -> "dict[str, DataSection]":
    """Give each global its place, and return the sections that hold them, by name.

    Call it before programs that use the globals are compiled.
    """
    from beewire.bpf.lang import sections  # noqa: PLC0415 - only where there are globals

    return sections.lay_out_globals(declared)
