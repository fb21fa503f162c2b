"""The programs of an object file, and what their instructions refer to."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from beewire.bpf import isa
from beewire.bpf.btf import Func, FuncProto, Linkage, Param, ext
from beewire.bpf.object import elf
from beewire.bpf.object.elf import Binding
from beewire.bpf.object.kinds import ProgramKind
from beewire.bpf.object.legacy import SECTION as LEGACY_MAPS
from beewire.bpf.object.sections import SUBPROGRAMS, Hook, parse_section
from beewire.bpf.object.source import SLOT, Source
from beewire.bpf.object.spec import (
    CoreRelo,
    LineInfo,
    ProgramSpec,
    Relocation,
    RelocationKind,
)
from beewire.errors import DecodingError, ObjectError, SpecError

_CALL = isa.call_helper(0).opcode
_MAX_COPIES = 4
MAPS = (".maps", LEGACY_MAPS)


class _Function(NamedTuple):
    """One function of a section; slots count from the section's start."""

    name: str
    symbol: elf.Symbol
    first: int
    end: int


def programs(source: Source, number: int) -> Iterator[ProgramSpec]:
    """The programs of section `number`, in order of place.

    Raises:
        ObjectError: instructions outside of functions, or relocations outside of
            instructions.
    """
    section = source.section(number)
    functions = [_function(source, number, each) for each in source.functions(number)]
    _refuse_gaps(section, functions)
    info = source.infos.get(section.name) or ext.SectionInfo(section.name)
    _refuse_strays(section, info)
    records = _Records(info)
    autoload = not section.name.startswith("?")
    name = section.name.removeprefix("?")
    unbound = set(source.references(number))
    for function in functions:
        symbol = function.symbol
        body = section.content[symbol.value : symbol.value + symbol.size]
        insns = _decoded(source, function, body)
        bound, relocations = _bind(source, function, insns, unbound)
        static = symbol.binding == Binding.LOCAL
        home = SUBPROGRAMS if static else name
        hook = _hook(home)
        yield ProgramSpec(
            function.name,
            kind=hook.kind,
            section=home,
            insns=bound,
            attach_kind=hook.attach_kind,
            attach_to=hook.attach_to,
            relocations=relocations,
            lines=records.lines(function),
            core_relos=records.core_relos(function),
            signature=_signature(source, function, records),
            license=source.spec.license,
            flags=hook.flags,
            autoload=autoload or home == SUBPROGRAMS,
        )
    if unbound:
        message = f"{section.name!r} has no instruction that a relocation fits"
        raise ObjectError(f"{message}: byte {min(unbound)}")


def _function(source: Source, number: int, symbol: elf.Symbol) -> _Function:
    name = source.function_at(number, symbol.value)
    if symbol.value % SLOT or symbol.size % SLOT or name is None:
        raise ObjectError(
            f"function {symbol.name!r} begins or ends amid an instruction"
        )
    first = symbol.value // SLOT
    return _Function(name, symbol, first, first + symbol.size // SLOT)


def _hook(section: str) -> Hook:
    try:
        return parse_section(section)
    except SpecError:
        # Not an error before somebody loads it: a loader may give it a kind.
        return Hook(ProgramKind.UNSPEC)


def _decoded(source: Source, function: _Function, body: bytes) -> tuple[isa.Insn, ...]:
    try:
        return isa.decode(body, big_endian=source.file.big_endian)
    except DecodingError as error:
        raise ObjectError(f"function {function.name!r}: {error}") from None


def _refuse_gaps(section: elf.Section, functions: list[_Function]) -> None:
    end, total = 0, 0
    for function in functions:
        # Two names for one function are no gap. But each has its own copy of the code.
        total += function.end - function.first
        if function.first > end or function.first == function.end:
            break
        if total * SLOT > _MAX_COPIES * len(section.content):
            raise ObjectError(f"the functions of {section.name!r} overlap")
        end = max(end, function.end)
    else:
        if end * SLOT == len(section.content):
            return
    raise ObjectError(
        f"{section.name!r} has instructions outside of functions: at byte {end * SLOT}"
    )


def _refuse_strays(section: elf.Section, info: ext.SectionInfo) -> None:
    end = len(section.content) // SLOT
    for records in (info.funcs, info.lines, info.core_relos):
        last = max([record[0] for record in records], default=0)
        if last >= end:
            message = f".BTF.ext speaks of slot {last} of {section.name!r}"
            raise ObjectError(f"{message}, which has {end}")


class _Records:
    """What .BTF.ext says of one section, sorted by slot: it has many functions."""

    __slots__ = ("_core", "_core_slots", "_line_slots", "_lines", "funcs")

    def __init__(self, info: ext.SectionInfo) -> None:
        self.funcs = dict(info.funcs)
        self._lines = sorted(info.lines, key=lambda line: line[0])
        self._core = sorted(info.core_relos, key=lambda relo: relo[0])
        self._line_slots = [line[0] for line in self._lines]
        self._core_slots = [relo[0] for relo in self._core]

    def lines(self, function: _Function) -> tuple[LineInfo, ...]:
        first, end = function.first, function.end
        low, high = _range(self._line_slots, first, end)
        lines = self._lines[low:high]
        return tuple([LineInfo(line[0] - first, *line[1:]) for line in lines])

    def core_relos(self, function: _Function) -> tuple[CoreRelo, ...]:
        first, end = function.first, function.end
        low, high = _range(self._core_slots, first, end)
        return tuple([CoreRelo(r[0] - first, *r[1:]) for r in self._core[low:high]])


def _range(slots: list[int], first: int, end: int) -> tuple[int, int]:
    return bisect_left(slots, first), bisect_left(slots, end)


def _signature(source: Source, function: _Function, records: _Records) -> Func | None:
    found = records.funcs.get(function.first)
    if not isinstance(found, Func):
        return None
    linkage = found.linkage
    if function.symbol.hidden and linkage is Linkage.GLOBAL:
        # As libbpf has it: verified with each caller, like a static function.
        linkage = Linkage.STATIC
    proto = _named_parameters(found.proto)
    now, then = (function.name, linkage), (found.name, found.linkage)
    if now != then or proto is not found.proto:
        source.renamed[found] = Func(function.name, proto, linkage)
    return source.renamed.get(found, found)


def _named_parameters(proto: FuncProto) -> FuncProto:
    """The kernel wants a name for each; clang leaves out those that nobody reads."""
    if all(each.name or each.type is None for each in proto.params):
        return proto
    params = [
        each if each.name or each.type is None else Param(f"arg{number}", each.type)
        for number, each in enumerate(proto.params, 1)
    ]
    return FuncProto(proto.returns, tuple(params))


def _bind(
    source: Source,
    function: _Function,
    insns: tuple[isa.Insn, ...],
    unbound: set[int],
) -> tuple[tuple[isa.Insn, ...], tuple[Relocation, ...]]:
    """Take the function's relocations out of `unbound`, and its calls' targets."""
    number = function.symbol.section
    references = source.references(number)
    bound, relocations = [], []
    slot = function.first
    for insn in insns:
        reference = references.get(slot * SLOT)
        found, place = None, slot - function.first
        if reference is not None:
            unbound.discard(slot * SLOT)
            if insn.slots == 1 and insn.opcode != _CALL:
                where = f"slot {place} of {function.name!r}"
                raise ObjectError(
                    f"{where} has a relocation, but is no call or LD_IMM64"
                )
            found = _resolve(source, insn, reference, place)
        elif insn.opcode == _CALL and insn.src == isa.CALL_SUBPROGRAM:
            # Within one section the compiler knows the distance: no relocation.
            target = slot + 1 + insn.imm
            if not function.first <= target < function.end:
                found = _call(source, number, target, place)
        elif insn.opcode == isa.LD_IMM64 and insn.src == isa.PSEUDO_FUNC:
            target = slot + 1 + _signed(insn.imm)
            found = _call(source, number, target, place)
        if found is not None:
            insn = _pseudo(insn, found.kind)  # noqa: PLW2901 - the same, named
            relocations.append(found)
        bound.append(insn)
        slot += insn.slots
    return tuple(bound), tuple(relocations)


def _resolve(
    source: Source, insn: isa.Insn, reference: elf.Reference, slot: int
) -> Relocation:
    symbol = source.symbol(reference.symbol)
    wide = insn.slots == 2
    if symbol.section == elf.UNDEFINED:
        return _extern(source, symbol, slot, insn)
    section = source.section(symbol.section)
    if source.is_code(symbol.section):
        distance = _signed(insn.imm) // SLOT if wide else insn.imm + 1
        target = symbol.value // SLOT + distance
        return _call(source, symbol.section, target, slot)
    offset = _signed(insn.imm)
    if section.name in MAPS and wide:
        name = _map_at(source, symbol.section, symbol.value + offset)
        return Relocation(slot, RelocationKind.MAP, name)
    if section.name in source.spec.sections and wide:
        return _global(source, symbol, section.name, offset, slot)
    raise ObjectError(f"an instruction refers to section {section.name!r}")


def _extern(
    source: Source, symbol: elf.Symbol, slot: int, insn: isa.Insn
) -> Relocation:
    wide = insn.slots == 2
    if wide and symbol.name in source.options:
        offset = _signed(insn.imm)
        return Relocation(slot, RelocationKind.GLOBAL, symbol.name, offset)
    if symbol.name not in source.spec.externs:
        raise ObjectError(f"{symbol.name!r} is declared nowhere, not even __ksym")
    kind = RelocationKind.KSYM if wide else RelocationKind.KFUNC
    return Relocation(slot, kind, symbol.name)


def _global(
    source: Source, symbol: elf.Symbol, section: str, offset: int, slot: int
) -> Relocation:
    if source.holders.get((symbol.section, symbol.value)) == symbol.name:
        return Relocation(slot, RelocationKind.GLOBAL, symbol.name, offset)
    return Relocation(slot, RelocationKind.GLOBAL, section, symbol.value + offset)


def _signed(imm: int) -> int:
    """The low half of a LD_IMM64, where an addend stands."""
    return (imm & 0xFFFFFFFF ^ 1 << 31) - (1 << 31)


def _call(source: Source, number: int, target: int, slot: int) -> Relocation:
    name = source.function_at(number, target * SLOT)
    if name is None:
        raise ObjectError(f"a call in slot {slot} leads to no function")
    return Relocation(slot, RelocationKind.SUBPROGRAM, name)


def _map_at(source: Source, number: int, offset: int) -> str:
    found = source.holders.get((number, offset))
    if found is not None:
        return found
    name = source.section(number).name
    raise ObjectError(f"an instruction refers to byte {offset} of {name}: no map")


def _pseudo(insn: isa.Insn, kind: str) -> isa.Insn:
    """The instruction as a spec has it while what it refers to has no number."""
    match kind:
        case RelocationKind.MAP:
            return isa.ld_map_fd(insn.dst, 0)
        case RelocationKind.GLOBAL:
            return isa.ld_map_value(insn.dst, 0, 0)
        case RelocationKind.KSYM:
            return isa.ld_btf_id(insn.dst, 0)
        case RelocationKind.KFUNC:
            return isa.call_kfunc(-1)
        case _:
            wide = insn.slots == 2
            return isa.ld_func(insn.dst, 0) if wide else isa.call_subprogram(-1)
