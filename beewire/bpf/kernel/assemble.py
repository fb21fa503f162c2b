"""Put a program and the subprograms it calls into one piece, as the kernel loads it."""

from beewire.bpf.btf import Func
from beewire.bpf.isa import Insn, call_subprogram, ld_func
from beewire.bpf.object import (
    CoreRelo,
    LineInfo,
    ObjectSpec,
    ProgramSpec,
    Relocation,
    RelocationKind,
)
from beewire.errors import SpecError

# Programs in this section are only called by others, never loaded by themselves.
SUBPROGRAM_SECTION = ".text"
_EXCEPTION_CALLBACK = "exception_callback:"


class Image:
    """A program with its subprograms; every slot counts from the program's start.

    `insns` is indexed by slot: the second slot of a LD_IMM64 is None. Calls of functions
    of kernel modules name the module by its place in `module_fds`, counted from 1.
    """

    __slots__ = (
        "core_relos",
        "funcs",
        "insns",
        "lines",
        "module_fds",
        "patched",
        "relocations",
    )

    def __init__(self) -> None:
        self.insns: list[Insn | None] = []
        self.funcs: list[tuple[int, Func]] = []
        self.lines: list[LineInfo] = []
        self.relocations: list[Relocation] = []
        self.core_relos: list[CoreRelo] = []
        # Those of core_relos that were applied here, for kernels before 5.17.
        self.patched: list[CoreRelo] = []
        self.module_fds: list[int] = []


def assemble(program: ProgramSpec, spec: ObjectSpec) -> Image:
    """Append each function that `program` calls, directly or not, and bind the calls.

    Raises:
        SpecError: a call names a function that the object does not have.
    """
    image = Image()
    starts: dict[str, int] = {}
    calls: list[tuple[int, str]] = []
    waiting = [*_exception_callbacks(program, spec), program]
    while waiting:
        function = waiting.pop()
        if function.name in starts:
            continue
        starts[function.name] = len(image.insns)
        for slot, name in _append(image, function):
            calls.append((slot, name))
            callee = spec.programs.get(name)
            if callee is None:
                raise SpecError(
                    f"{function.name!r} calls {name!r}, which the object does not have"
                )
            waiting.append(callee)
    for slot, name in calls:
        _bind(image, slot, starts[name] - slot - 1)
    return image


def _exception_callbacks(program: ProgramSpec, spec: ObjectSpec) -> list[ProgramSpec]:
    """The functions that the program's tags name: nothing in its code refers to them."""
    names = [
        tag.name.removeprefix(_EXCEPTION_CALLBACK)
        for tag in spec.tags
        if tag.to is program.signature and tag.name.startswith(_EXCEPTION_CALLBACK)
    ]
    return [spec.programs[name] for name in names if name in spec.programs]


def _bind(image: Image, slot: int, distance: int) -> None:
    """Let a call, or the address of a callback, point `distance` slots past the next."""
    insn = image.insns[slot]
    if insn is None:
        raise SpecError(f"a relocation points into the middle of slot {slot - 1}")
    if insn.slots == 2:
        image.insns[slot] = ld_func(insn.dst, distance)
    else:
        image.insns[slot] = call_subprogram(distance)


def _append(image: Image, function: ProgramSpec) -> list[tuple[int, str]]:
    """Add one function to the image; returns its calls (slot, name)."""
    start = len(image.insns)
    for insn in function.insns:
        image.insns.append(insn)
        if insn.slots == 2:
            image.insns.append(None)
    if function.signature is not None:
        image.funcs.append((start, function.signature))
    image.lines.extend(_lines(function, start))
    image.core_relos.extend(
        [relo._replace(slot=relo.slot + start) for relo in function.core_relos]
    )
    calls = []
    for relo in function.relocations:
        if relo.kind == RelocationKind.SUBPROGRAM:
            calls.append((relo.slot + start, relo.symbol))
        else:
            image.relocations.append(relo._replace(slot=relo.slot + start))
    return calls


def _lines(function: ProgramSpec, start: int) -> list[LineInfo]:
    """The function's lines, beginning at its first slot as the kernel demands."""
    lines = [line._replace(slot=line.slot + start) for line in function.lines]
    if lines:
        lines[0] = lines[0]._replace(slot=start)
    return lines
