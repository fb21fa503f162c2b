"""An object as text for people: maps, globals, instructions under their source, types.

program on_exec (tracepoint/sched/sched_process_exec): 13 instructions
; count.py:11:13  table[current_tgid()] += 1
0: (85) call bpf_get_current_pid_tgid#14
"""

from beewire.bpf import isa
from beewire.bpf.btf import Composite, Enum, Type
from beewire.bpf.btf.c import declarations, declare
from beewire.bpf.object.kinds import MapKind
from beewire.bpf.object.spec import (
    CoreRelo,
    DataSection,
    MapSpec,
    ObjectSpec,
    ProgramSpec,
    Relocation,
)
from beewire.errors import EncodingError
from beewire.hints import Iterator, Mapping

_NO_NOTES: Mapping[int, str] = {}
_CALL = isa.call_helper(0).opcode
# enum bpf_core_relo_kind
_CORE_KINDS = (
    "byte offset",
    "byte size",
    "exists",
    "signed",
    "left shift",
    "right shift",
    "local type id",
    "target type id",
    "type exists",
    "type size",
    "enum value exists",
    "enum value",
    "type matches",
)


def object_text(spec: ObjectSpec) -> str:
    """Return the whole of `spec`, one part after another."""
    parts = [f"object {spec.name}, license {spec.license}"]
    if spec.maps:
        parts.append("\n".join(["maps", *map(_map, spec.maps.values())]))
    parts += [section_text(section) for section in spec.sections.values()]
    parts += [program_text(program) for program in spec.programs.values()]
    types = declarations(list(_types(spec)))
    if types:
        parts.append(f"types\n{types}")
    return "\n\n".join(parts) + "\n"


def program_text(program: ProgramSpec, notes: Mapping[int, str] = _NO_NOTES) -> str:
    """Return the instructions of `program`, under the source lines they stem from.

    `notes` are shown behind the instructions at their slots, as relocations are.
    """
    count = sum(insn.slots for insn in program.insns)
    hook = program.section or program.kind.name
    lines = [f"program {program.name} ({hook}): {count} instructions"]
    sources = {line.slot: line for line in program.lines}
    told = _notes(program, notes)
    slot, shown = 0, ("", 0)
    for insn in program.insns:
        source = sources.get(slot)
        if source is not None and (source.file, source.line) != shown:
            shown = (source.file, source.line)
            place = f"{source.file}:{source.line}:{source.column}"
            lines.append(f"  ; {place}  {source.text.strip()}")
        said = told.get(slot, ())
        text = f"{slot:4}: ({insn.opcode:02x}) {insn_text(insn, said)}"
        note = "" if insn.opcode == _CALL and insn.src == 0 else ", ".join(said)
        lines.append(f"  {text:40}  ; {note}" if note else f"  {text}")
        slot += insn.slots
    return "\n".join(lines)


def insn_text(insn: isa.Insn, said: tuple[str, ...] = ()) -> str:
    """Return one instruction in the kernel's notation; `said` names what it calls."""
    if said and insn.opcode == _CALL and insn.src == 0:
        return f"call {said[0]}"
    # The kernel rewrites instructions into some that no program may contain.
    try:
        return isa.format_insn(insn)
    except EncodingError:
        return f"dst {insn.dst} src {insn.src} off {insn.off} imm {insn.imm}"


def section_text(section: DataSection) -> str:
    """Return the variables of a data section, with what they hold at load."""
    lines = [f"{section.name}: {len(section.content)} bytes"]
    for each in section.variables:
        held = bytes(section.content[each.offset : each.offset + each.size])
        value = f" = {_value(held)}" if any(held) else ""
        lines.append(f"  {each.offset:4}: {declare(each.type, each.name)}{value}")
    return "\n".join(lines)


def _value(held: bytes) -> str:
    if len(held) in {1, 2, 4, 8}:
        return str(int.from_bytes(held, "little"))
    shown = held[:16].hex(" ")
    return shown if len(held) <= 16 else f"{shown} ..."


def _map(spec: MapSpec) -> str:
    facts = [f"  {spec.name}", _kind(spec.kind)]
    for word, size, node in (
        ("key", spec.key_size, spec.key),
        ("value", spec.value_size, spec.value),
    ):
        if size:
            name = f" ({declare(node)})" if isinstance(node, Type) else ""
            facts.append(f"{word} {size} bytes{_short(name)}")
    unit = "bytes" if spec.kind == MapKind.RINGBUF else "entries"
    facts.append(f"{spec.max_entries} {unit}")
    if spec.flags:
        facts.append(f"flags {spec.flags:#x}")
    return ", ".join(facts)


def _short(name: str) -> str:
    # A type without a name would be spelt out with all its members.
    return "" if "{" in name else name


def _kind(kind: int) -> str:
    return kind.name if isinstance(kind, MapKind) else f"map type {kind}"


def _notes(
    program: ProgramSpec, given: Mapping[int, str]
) -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {slot: (text,) for slot, text in given.items()}
    for relocation in program.relocations:
        found[relocation.slot] = (
            *found.get(relocation.slot, ()),
            _relocation(relocation),
        )
    for core in program.core_relos:
        found[core.slot] = (*found.get(core.slot, ()), _core(core))
    return found


def _relocation(relocation: Relocation) -> str:
    offset = f" + {relocation.offset}" if relocation.offset else ""
    return f"{relocation.kind} {relocation.symbol}{offset}"


def _core(core: CoreRelo) -> str:
    kind = _CORE_KINDS[core.kind] if core.kind < len(_CORE_KINDS) else str(core.kind)
    return f"CO-RE {kind} of {access_text(core.type, core.access)}"


def access_text(node: Type | None, access: str) -> str:
    """Return a CO-RE access in words: "0:1" into task_struct is `task_struct.tgid`."""
    first, *rest = access.split(":")
    text = declare(node)
    if isinstance(node, Enum):
        index = int(first)
        inside = index < len(node.values)
        return f"{text}.{node.values[index].name if inside else index}"
    for step in rest:
        member = int(step)
        if not isinstance(node, Composite) or member >= len(node.members):
            return f"{text}[{access}]"
        text += f".{node.members[member].name}"
        node = node.members[member].type
    return text


def _types(spec: ObjectSpec) -> Iterator[Type]:
    for each in spec.maps.values():
        yield from (node for node in (each.key, each.value) if isinstance(node, Type))
    for section in spec.sections.values():
        for variable in section.variables:
            yield variable.type
