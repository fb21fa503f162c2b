"""Several programs of one kind as one program, which calls them one after the other."""

from beewire.bpf import isa
from beewire.bpf.btf import types as btf
from beewire.bpf.isa import AluOp, Insn, JumpOp
from beewire.bpf.object.kinds import ProgramKind
from beewire.bpf.object.sections import SUBPROGRAMS
from beewire.bpf.object.spec import (
    DataSection,
    LineInfo,
    MapSpec,
    ObjectSpec,
    ProgramSpec,
    Relocation,
    RelocationKind,
)
from beewire.errors import SpecError
from beewire.rows import Row

ARENA_SECTION = ".addr_space.1"
_MOST = 64  # far below the verifier's 256 functions


class Member(Row):
    """A program of an object, and after which of its results (0 to 31) the next one runs."""

    spec: ObjectSpec
    name: str
    go_on: tuple[int, ...]


def combine(members: list[Member], name: str, last: int) -> ObjectSpec:
    """An object whose one program, `name`, runs the members in their order.

    The first result that is not in a member's `go_on` is the program's; where all of them
    let the next one run, it is `last`. Functions, maps, sections and variables of member
    n are there under `prefix(n)` and their names: loading it takes the maps that are
    there already.

    Raises:
        SpecError: there is none, or too many; a program that cannot be called.
    """
    if not 0 < len(members) <= _MOST:
        raise SpecError(f"{len(members)} programs in one: it takes 1 to {_MOST}")
    out = ObjectSpec(name, members[0].spec.license)
    calls: list[str] = []
    first = members[0].spec.programs[members[0].name]
    for place, member in enumerate(members):
        _add(out, member, prefix(place))
        calls.append(prefix(place) + member.name)
    insns, relocations = _dispatch(calls, [each.go_on for each in members], last)
    int_type = btf.Int("int", 4, signed=True)
    proto = btf.FuncProto(int_type, (btf.Param("ctx", btf.Ptr(None)),))
    out.programs[name] = ProgramSpec(
        name,
        kind=first.kind,
        section=first.section,
        insns=insns,
        attach_kind=first.attach_kind,
        relocations=relocations,
        signature=btf.Func(name, proto),
        license=first.license,
        flags=first.flags,
    )
    _level(list(out.programs.values()), out.programs[name])
    return out


def _level(functions: list[ProgramSpec], caller: ProgramSpec) -> None:
    """The kernel wants types, and lines, of all functions or of none."""
    called = [each for each in functions if each is not caller]
    typed = all(each.signature for each in called)
    lined = typed and all(each.lines for each in called)
    if lined:
        caller.lines = (LineInfo(0, f"<{caller.name}>", 1, 1, "calls the programs"),)
    for function in functions:
        if not typed:
            function.signature = None
        if not lined:
            function.lines = ()


def prefix(place: int) -> str:
    """What the names of the member at `place`, counted from 0, begin with."""
    return f"m{place}_"


def _dispatch(
    calls: list[str], go_on: list[tuple[int, ...]], last: int
) -> tuple[tuple[Insn, ...], tuple[Relocation, ...]]:
    """Call each, and leave with its result unless the bit of it is set in a mask."""
    insns = [isa.mov_reg(6, 1)]
    relocations = []
    for callee, results in zip(calls, go_on, strict=True):
        mask = 0
        for result in results:
            if not 0 <= result < 32:
                raise SpecError(
                    f"a program goes on after results 0 to 31, not {result}"
                )
            mask |= 1 << result
        insns.append(isa.mov_reg(1, 6))
        relocations.append(Relocation(len(insns), RelocationKind.SUBPROGRAM, callee))
        insns += [
            isa.call_subprogram(-1),
            isa.jump_imm(JumpOp.JGT, 0, 31, 4, bits=32),  # no bit in the mask
            isa.mov_imm(1, mask - (1 << 32) if mask >> 31 else mask, bits=32),
            isa.alu_reg(AluOp.RSH, 1, 0, bits=32),
            isa.alu_imm(AluOp.AND, 1, 1, bits=32),
            isa.jump_imm(JumpOp.JNE, 1, 0, 1, bits=32),
            isa.exit_insn(),
        ]
    insns += [isa.mov_imm(0, last), isa.exit_insn()]
    return tuple(insns), tuple(relocations)


def _add(out: ObjectSpec, member: Member, mark: str) -> None:
    """Copy a program and all that it reaches, under new names."""
    spec = member.spec
    if ARENA_SECTION in spec.sections:
        raise SpecError(
            f"{member.name!r} has globals in an arena: it is not called here"
        )
    owners = {
        variable.name: section.name
        for section in spec.sections.values()
        for variable in section.variables
    }
    waiting = [member.name]
    while waiting:
        function = spec.programs[waiting.pop()]
        if mark + function.name in out.programs:
            continue
        for relo in function.relocations:
            if relo.kind == RelocationKind.SUBPROGRAM:
                waiting.append(relo.symbol)
            elif relo.kind == RelocationKind.MAP:
                out.maps[mark + relo.symbol] = _renamed(spec.maps[relo.symbol], mark)
            elif relo.kind == RelocationKind.GLOBAL:
                section = spec.sections[owners.get(relo.symbol, relo.symbol)]
                out.sections[mark + section.name] = _section(section, mark)
        out.programs[mark + function.name] = _function(function, mark)
    out.externs |= spec.externs
    out.weak |= spec.weak
    out.types += spec.types


def _function(function: ProgramSpec, mark: str) -> ProgramSpec:
    """The same as a function that programs call."""
    name, signature = mark + function.name, function.signature
    return ProgramSpec(
        name,
        kind=ProgramKind.UNSPEC,
        section=SUBPROGRAMS,
        insns=function.insns,
        relocations=tuple([_reference(relo, mark) for relo in function.relocations]),
        lines=function.lines,
        core_relos=function.core_relos,
        # Static: the verifier follows the context into it, packet and all.
        signature=signature and btf.Func(name, signature.proto, btf.Linkage.STATIC),
        license=function.license,
    )


def _reference(relo: Relocation, mark: str) -> Relocation:
    if relo.kind in (RelocationKind.KFUNC, RelocationKind.KSYM):
        return relo
    return relo._replace(symbol=mark + relo.symbol)


def _section(section: DataSection, mark: str) -> DataSection:
    variables = [each._replace(name=mark + each.name) for each in section.variables]
    return DataSection(mark + section.name, section.content, variables)


def _renamed(found: MapSpec, mark: str) -> MapSpec:
    copy = MapSpec.__new__(MapSpec)
    for slot in MapSpec.__slots__:
        setattr(copy, slot, getattr(found, slot))
    copy.name = mark + found.name
    copy.pinned = False
    return copy
