"""What an ObjectSpec must be like to become an object file."""

from beewire.bpf.isa import Insn, call_helper
from beewire.bpf.object.kinds import MapKind, ProgramKind
from beewire.bpf.object.sections import Hook, parse_section
from beewire.bpf.object.spec import (
    DataSection,
    MapSpec,
    ObjectSpec,
    ProgramSpec,
    Relocation,
    RelocationKind,
)
from beewire.errors import SpecError

_DATA_NAMES = (".data", ".bss", ".rodata", ".addr_space.1")

_MAX_INITIAL = 1 << 16

# Slots of the instruction that a relocation stands at, where there is no choice.
_SLOTS = {
    RelocationKind.MAP: 2,
    RelocationKind.GLOBAL: 2,
    RelocationKind.KSYM: 2,
    RelocationKind.KFUNC: 1,
}
_CALL = call_helper(0).opcode


def check(spec: ObjectSpec) -> None:
    """Refuse a spec that contradicts itself, or that no object file can hold.

    Raises:
        SpecError: what is wrong, and with which program, map or variable.
    """
    if spec.big_endian:
        raise SpecError(
            f"object {spec.name!r} is big-endian, and so is the content of its data: "
            "only little-endian objects are written"
        )
    _check_names(spec)
    for each in spec.maps.values():
        _check_map(each)
    for name in spec.weak - spec.externs.keys():
        raise SpecError(f"{name!r} is weak, and nothing that the kernel has")
    for key, section in spec.sections.items():
        if key != section.name:
            raise SpecError(f"{section.name!r} is listed under the name {key!r}")
        _check_data(section)
    for program in spec.programs.values():
        _check_program(program, spec.license)
        for relocation in program.relocations:
            _check_target(relocation, program, spec)
        _check_places(program)
        _check_records(program)


def _check_names(spec: ObjectSpec) -> None:
    seen: set[str] = set()
    variables = [v for section in spec.sections.values() for v in section.variables]
    tables = (spec.programs, spec.maps, spec.externs, {v.name: v for v in variables})
    for table in tables:
        for key, value in table.items():
            if key != value.name:
                raise SpecError(f"{value.name!r} is listed under the name {key!r}")
            if not key or "\0" in key:
                raise SpecError(f"{key!r} is no name for a symbol")
            if key in seen:
                raise SpecError(f"the object has two things named {key!r}")
            seen.add(key)
    if len({v.name for v in variables}) < len(variables):
        raise SpecError("the object has two variables of one name")


def _check_map(spec: MapSpec) -> None:
    if spec.kind == MapKind.UNSPEC:
        raise SpecError(f"map {spec.name!r} has no kind")
    if spec.initial and max(spec.initial) >= _MAX_INITIAL:
        raise SpecError(
            f"map {spec.name!r} begins with more than {_MAX_INITIAL} values"
        )
    if spec.inner is None:
        return
    if spec.inner.inner is not None:
        message = f"map {spec.inner.name!r} inside of {spec.name!r} has maps inside"
        raise SpecError(f"{message}, which no kernel allows")
    _check_map(spec.inner)


def _check_data(section: DataSection) -> None:
    name, length = section.name, len(section.content)
    if name == ".kconfig":
        return
    if not any(name == each or name.startswith(f"{each}.") for each in _DATA_NAMES):
        raise SpecError(f"{name!r} is no name of a data section, such as .data or .bss")
    if not length:
        raise SpecError(f"the data section {name!r} is empty")
    if name.startswith(".bss") and any(section.content):
        raise SpecError(f"{name!r} holds more than zeros: use .data")
    end = 0
    for variable in sorted(section.variables, key=lambda each: each.offset):
        if variable.offset < end or variable.offset + variable.size > length:
            raise SpecError(f"variable {variable.name!r} overlaps another, or the end")
        end = variable.offset + variable.size


def _check_program(program: ProgramSpec, license_text: str) -> None:
    name, hook = program.name, _hook(program)
    if program.kind != hook.kind or program.attach_kind not in (None, hook.attach_kind):
        kind = f"{program.kind.name} {program.attach_kind!r}"
        raise SpecError(f"program {name!r} of kind {kind} is in {program.section!r}")
    if program.attach_to != hook.attach_to or program.flags != hook.flags:
        raise SpecError(
            f"section {program.section!r} does not say what program {name!r} attaches "
            f"to ({program.attach_to!r}), or its flags ({program.flags:#x})"
        )
    if program.license != license_text:
        raise SpecError(
            f"program {name!r} is under {program.license!r}, the object under "
            f"{license_text!r}: a file has one license"
        )
    if not program.insns:
        raise SpecError(f"program {name!r} has no instructions")
    if program.signature is not None and program.signature.name != name:
        raise SpecError(f"the signature of program {name!r} has another name")


def _hook(program: ProgramSpec) -> Hook:
    try:
        return parse_section(program.section)
    except SpecError:
        if program.kind is ProgramKind.UNSPEC and program.section.isprintable():
            return Hook(ProgramKind.UNSPEC)
        raise


def _check_target(relo: Relocation, program: ProgramSpec, spec: ObjectSpec) -> None:
    variables = {
        v.name for section in spec.sections.values() for v in section.variables
    }
    known = {
        RelocationKind.MAP: spec.maps.keys(),
        RelocationKind.GLOBAL: spec.sections.keys() | variables,
        RelocationKind.KFUNC: spec.externs.keys(),
        RelocationKind.KSYM: spec.externs.keys(),
        RelocationKind.SUBPROGRAM: spec.programs.keys(),
    }
    if relo.symbol not in known.get(relo.kind, ()):
        raise SpecError(
            f"program {program.name!r} refers to {relo.kind} {relo.symbol!r}, which "
            "the object does not have"
        )
    if relo.offset and relo.kind != RelocationKind.GLOBAL:
        raise SpecError(f"only a global variable can be referred to amid: {relo}")
    if not -(1 << 31) <= relo.offset < 1 << 31:
        where = f"global {relo.symbol!r} at {relo.offset}"
        raise SpecError(f"program {program.name!r} refers to {where}, beyond 32 bits")


def _check_places(program: ProgramSpec) -> None:
    at, slots = 0, {}
    for insn in program.insns:
        slots[at] = insn
        at += insn.slots
    for relo in program.relocations:
        target = slots.get(relo.slot)
        width = 0 if target is None else _referring_slots(target)
        if not width or width != _SLOTS.get(relo.kind, width):
            raise SpecError(
                f"program {program.name!r} refers to {relo.kind} {relo.symbol!r} where "
                f"no instruction can: slot {relo.slot}"
            )
    if len({relo.slot for relo in program.relocations}) < len(program.relocations):
        raise SpecError(f"program {program.name!r} has two relocations at one slot")


def _check_records(program: ProgramSpec) -> None:
    # Beyond the end they would be taken for those of the next program.
    slots = sum([insn.slots for insn in program.insns])
    tables = (("source lines", program.lines), ("CO-RE records", program.core_relos))
    for what, records in tables:
        for slot, *_ in records:
            if not 0 <= slot < slots:
                raise SpecError(
                    f"the {what} of program {program.name!r} speak of slot {slot}: "
                    f"it has {slots}"
                )


def _referring_slots(insn: Insn) -> int:
    """The slots of an instruction that may have a relocation; 0 of any other."""
    return insn.slots if insn.slots == 2 or insn.opcode == _CALL else 0
