"""struct_ops: the kernel's tables of callbacks, filled with programs of an object.

A struct_ops map describes the table as the object knows it. Members are matched with
the running kernel's by name, so that one object serves kernels whose tables differ.
"""

import errno

from beewire.bpf.btf import Kind, Member, Ptr, Struct, size_of, strip
from beewire.bpf.kernel.target import Hook, Target
from beewire.bpf.object import AttachKind, MapKind, MapSpec, ObjectSpec, ProgramSpec
from beewire.errors import AttachError, NotSupported, SpecError
from beewire.hints import Mapping
from beewire.rows import Row

_VALUE_PREFIX = "bpf_struct_ops_"
_SINCE = "5.6"


class Table(Row):
    """One struct_ops map against this kernel; offsets in bytes from the value's start.

    `value` is what the map is given but for the programs, whose descriptors go to the
    offsets in `programs`.
    """

    spec: MapSpec
    value_type_id: int
    value: bytes
    programs: Mapping[int, str]


def plan(spec: ObjectSpec, target: Target) -> tuple[dict[str, Table], dict[str, Hook]]:
    """The struct_ops maps of `spec` by name, and what each of their programs hooks.

    Raises:
        NotSupported: the kernel has no such table.
        SpecError: the object fills a member that the kernel does not have, or that
            has another size there.
    """
    tables: dict[str, Table] = {}
    hooks: dict[str, Hook] = {}
    for name, each in spec.maps.items():
        if each.kind is MapKind.STRUCT_OPS and each.autocreate:
            tables[name] = _table(each, target, hooks)
    for name, hook in hooks.items():
        _check_arguments(spec.programs[name], hook, target)
    return tables, hooks


def _check_arguments(program: ProgramSpec, hook: Hook, target: Target) -> None:
    """Make sure that the member passes what the program's parameters say."""
    if not program.arguments:
        return
    from beewire.bpf.kernel import hooks  # noqa: PLC0415 - for typed programs only

    table = target.index(f"program {program.name!r}").type(hook.btf_id)
    assert isinstance(table, Struct)
    proto = hooks.prototype(table.members[hook.member].type)
    if proto is not None:
        passed = [(each.name, each.type) for each in proto.params]
        hooks.check_prototype(program, passed, proto.returns)


def unused_programs(spec: ObjectSpec) -> set[str]:
    """Programs that only maps refer to which are not created: they are not loaded."""
    used: set[str] = set()
    unused: set[str] = set()
    for each in spec.maps.values():
        if each.kind is MapKind.STRUCT_OPS:
            (used if each.autocreate else unused).update(each.initial.values())
    return unused - used


def _table(spec: MapSpec, target: Target, hooks: dict[str, Hook]) -> Table:
    local = spec.value
    if not isinstance(local, Struct):
        raise SpecError(f"the struct_ops map {spec.name!r} has no struct for a value")
    name = local.name.partition("___")[0]
    index = target.index(f"struct_ops map {spec.name!r}")
    kernel_id = index.find(name, Kind.STRUCT)
    value_id = index.find(_VALUE_PREFIX + name, Kind.STRUCT)
    kernel = index.lookup(name, Struct)
    value = index.lookup(_VALUE_PREFIX + name, Struct)
    if kernel is None or value is None or kernel_id is None or value_id is None:
        raise NotSupported(errno.ENOENT, f"struct_ops of {name!r}", _SINCE)
    data = next((m for m in value.members if strip(m.type) is kernel), None)
    if data is None:
        raise NotSupported(errno.ENOENT, f"struct_ops of {name!r}", _SINCE)
    start = data.offset_bits // 8
    content, programs = bytearray(value.size), {}
    numbers = {member.name: number for number, member in enumerate(kernel.members)}
    for member in local.members:
        at = member.offset_bits // 8
        number = numbers.get(member.name.partition("___")[0])
        program = spec.initial.get(at)
        if number is None:
            _refuse_unknown(spec, member, name)
            continue
        found = kernel.members[number]
        offset = start + found.offset_bits // 8
        if program is not None:
            _hook(hooks, program, Hook(kernel_id, AttachKind.STRUCT_OPS, number))
            programs[offset] = program
        elif not isinstance(strip(member.type), Ptr):
            size = _common_size(spec, member, found)
            content[offset : offset + size] = spec.content[at : at + size]
        elif any(spec.content[at : at + 8]):
            raise SpecError(
                f"{spec.name}.{member.name} is a pointer, and to no program"
            )
    return Table(spec, value_id, bytes(content), programs)


def _hook(hooks: dict[str, Hook], program: str, hook: Hook) -> None:
    if hooks.setdefault(program, hook) != hook:
        raise AttachError(
            f"program {program!r} is used for two different members of struct_ops: the "
            "kernel verifies it for one"
        )


def _refuse_unknown(spec: MapSpec, member: Member, table: str) -> None:
    """A member that this kernel lacks may be left zero."""
    at, size = member.offset_bits // 8, size_of(member.type)
    if at in spec.initial or any(spec.content[at : at + size]):
        raise SpecError(
            f"{spec.name}.{member.name} is set, which this kernel's {table} does not have"
        )


def _common_size(spec: MapSpec, member: Member, found: Member) -> int:
    size = size_of(member.type)
    if size != size_of(found.type) or member.bitfield_bits or found.bitfield_bits:
        raise SpecError(
            f"{spec.name}.{member.name} is {size} bytes long, and in this kernel "
            f"{size_of(found.type)}"
        )
    return size
