"""What a policy can ask of an object: what its programs are, use, and hook."""

import hashlib
from typing import NamedTuple

from beewire.bpf.isa import Insn
from beewire.bpf.isa.helper_names import HELPER_NAMES
from beewire.bpf.isa.opcodes import CALL
from beewire.bpf.kernel.assemble import SUBPROGRAM_SECTION, assemble
from beewire.bpf.object import ObjectSpec, ProgramSpec, RelocationKind, read, write
from beewire.errors import BeewireError


class ProgramFacts(NamedTuple):
    """One program that would be loaded.

    `attach` is its section ("tracepoint/sched/sched_switch"); `helpers` are the helpers
    and kernel functions that it, or a function that it calls, may call; `maps` the types
    of the maps that it refers to.
    """

    name: str
    type: str
    attach: str
    helpers: tuple[str, ...]
    maps: tuple[str, ...]


class Facts(NamedTuple):
    """An object; `content` is its file, and `digest` the SHA-256 of that, in hex.

    For what was compiled in this process the file is the one that `beewire build` writes.
    Both are empty where an object has none.
    """

    name: str
    programs: tuple[ProgramFacts, ...]
    digest: str
    content: bytes


def facts_of(spec: ObjectSpec) -> Facts:
    """The facts of everything in `spec` that loading it would load.

    Raises:
        SpecError: the spec contradicts itself.
    """
    programs = tuple(
        _program(program, spec)
        for program in spec.programs.values()
        if program.autoload and program.section != SUBPROGRAM_SECTION
    )
    content = _content(spec)
    digest = hashlib.sha256(content).hexdigest() if content else ""
    return Facts(spec.name, programs, digest, content)


def _program(program: ProgramSpec, spec: ObjectSpec) -> ProgramFacts:
    image = assemble(program, spec)
    called = [_helper(insn) for insn in image.insns if insn is not None]
    called += [
        relocation.symbol.removeprefix("bpf_")
        for relocation in image.relocations
        if relocation.kind == RelocationKind.KFUNC
    ]
    kinds = {
        spec.maps[relocation.symbol].kind.name
        for relocation in image.relocations
        if relocation.symbol in spec.maps
    }
    helpers = sorted({name for name in called if name})
    attach = program.section.removeprefix("?")
    return ProgramFacts(
        program.name, program.kind.name, attach, tuple(helpers), tuple(sorted(kinds))
    )


def _helper(insn: Insn) -> str:
    """The helper that an instruction calls, or "" ."""
    if insn.opcode != CALL or insn.src:
        return ""
    number = insn.imm
    known = 0 < number < len(HELPER_NAMES)
    # -1 is a kernel function that is bound by its name: it is among the relocations.
    return HELPER_NAMES[number] if known else f"helper {number}" * (number != -1)


def _content(spec: ObjectSpec) -> bytes:
    """The file of an object: the one that it was read from, unless it was changed since."""
    if spec.origin and _shown(read(spec.origin)) == _shown(spec):
        return spec.origin
    try:
        return write(spec)
    except BeewireError:
        return b""  # what has no file is in no list


def _shown(spec: ObjectSpec) -> list[object]:
    """What the kernel would be given."""
    return [
        *(
            (name, each.kind, each.section, each.insns, each.relocations, each.flags,
             each.attach_kind, each.attach_to, each.autoload, each.license)
            for name, each in spec.programs.items()
        ),
        *(
            (name, each.kind, each.key_size, each.value_size, each.max_entries,
             each.flags, each.initial, each.pinned, each.content)
            for name, each in spec.maps.items()
        ),
        *((name, bytes(each.content)) for name, each in spec.sections.items()),
    ]  # fmt: skip
