"""Static probes for programs of libbpf's `usdt.bpf.h`, which ask maps for arguments.

A number, which is the program's cookie at a place, says where the arguments are there:
the map `__bpf_usdt_specs` holds that. Without cookies, a second map has the numbers by
address.
"""

import errno
import os
import sys

from beewire.bpf.btf import Array, Member, Struct, size_of, strip
from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.binaries import Binary
from beewire.bpf.kernel.links.event import EventLink
from beewire.bpf.kernel.links.usdt import (
    attach_places,
    find_probes,
    place_of,
    split_usdt,
)
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.kernel.program import Program
from beewire.bpf.lang.registers import HIGH_BYTES, offset_of
from beewire.errors import AttachError, NotSupported
from beewire.hints import Mapping, Sequence
from beewire.symbols.mappings import Mappings
from beewire.symbols.stapsdt import Operand, StaticProbe, parse_operands

SPECS, IDS = "__bpf_usdt_specs", "__bpf_usdt_ip_to_spec_id"
_CONSTANT, _REGISTER, _MEMORY, _INDEXED = 0, 1, 2, 3  # enum __bpf_usdt_arg_type


def attach_usdt_by_maps(
    program: Program,
    maps: Mapping[str, AnyMap],
    place: str,
    *,
    pid: int = -1,
    cookie: int = 0,
    way: str = "",
) -> EventLink:
    """Run a program that asks libbpf's maps where its arguments are.

    `maps` are those of its object. Where perf events have no cookies, it finds the place
    by its address: of programs at fixed addresses, or of the process `pid`.

    Raises:
        AttachError: as `attach_usdt`; or the maps are not there, or full.
        NotSupported: no cookies here (before Linux 5.15), and no known addresses.
    """
    if SPECS not in maps:
        raise AttachError(
            f"program {program.name!r} has no map {SPECS!r}: its object includes no "
            "usdt.bpf.h, so that it cannot find its arguments"
        )
    path, provider, name = split_usdt(place)
    specs = maps[SPECS]
    with Binary.find(path, pid) as binary:
        found = find_probes(binary, provider, name)
        numbers = _describe(specs, found, cookie)
        places = [place_of(binary, each) for each in found]
        cookies = [numbers[each.operands] for each in found]

        def give_back() -> None:
            for number in [] if specs.closed else numbers.values():
                _put(specs, number, bytes(specs.spec.value_size))

        try:
            try:
                link = attach_places(program, places, place, pid, cookies, way)
            except NotSupported:
                if IDS not in maps:
                    raise
                starts = _addresses(binary, found, pid)
                for start, number in zip(starts, cookies, strict=True):
                    _put(maps[IDS], start, bytes(_number(number)), width=8)
                none = [0] * len(places)
                link = attach_places(program, places, place, pid, none, way)
        except BaseException:
            give_back()
            raise
    link.at_end(give_back)
    return link


def _describe(
    specs: AnyMap, found: Sequence[StaticProbe], cookie: int
) -> dict[str, int]:
    """Put each form of arguments into the map; its number by the note's text."""
    layout = strip(specs.spec.value)
    if not isinstance(layout, Struct):
        raise AttachError(f"map {SPECS!r} has no types: its object has no BTF of it")
    numbers: dict[str, int] = {}
    for text in dict.fromkeys(each.operands for each in found):
        number = _free(specs)
        _put(specs, number, encode_spec(layout, text, cookie))
        numbers[text] = number
    return numbers


def _free(specs: AnyMap) -> int:
    # Not number 0, which as a cookie cannot be told from none.
    for number in range(1, specs.spec.max_entries):
        if not any(_get(specs, number)):
            return number
    raise AttachError(
        f"map {SPECS!r} is full: {specs.spec.max_entries} forms of arguments are in use "
        "(BPF_USDT_MAX_SPEC_CNT)"
    )


def _get(table: AnyMap, number: int) -> bytearray:
    key, value = _number(number), bytearray(table.spec.value_size)
    record = attr.MAP_ELEM.pack(
        map_fd=table.fd, key=syscall.address(key), value=syscall.address(value)
    )
    syscall.bpf(syscall.Cmd.MAP_LOOKUP_ELEM, record, f"read map {table.name!r}")
    return value


def _put(table: AnyMap, key: int, content: bytes, width: int = 4) -> None:
    place, value = _number(key, width), bytearray(content)
    record = attr.MAP_ELEM.pack(
        map_fd=table.fd, key=syscall.address(place), value=syscall.address(value)
    )
    syscall.bpf(syscall.Cmd.MAP_UPDATE_ELEM, record, f"fill map {table.name!r}")


def _number(value: int, width: int = 4) -> bytearray:
    return bytearray(value.to_bytes(width, sys.byteorder))


def encode_spec(layout: Struct, text: str, cookie: int) -> bytes:
    """A `struct __bpf_usdt_spec` of the object, for arguments as a note tells them.

    Raises:
        AttachError: there are too many, or one that no program can read.
    """
    members = {member.name: member for member in layout.members}
    operands = parse_operands(text, os.uname().machine)
    args = strip(members["args"].type)
    assert isinstance(args, Array)
    each = strip(args.element)
    assert isinstance(each, Struct)
    if len(operands) > args.count:
        raise AttachError(
            f"the probe has {len(operands)} arguments ({text!r}), the object's map has "
            f"room for {args.count}"
        )
    content = bytearray(layout.size)
    start = members["args"].offset_bits
    for number, operand in enumerate(operands):
        at = start + 8 * each.size * number
        for name, value in _fields(operand).items():
            member = next((m for m in each.members if m.name == name), None)
            if member is not None:
                _set(content, at, member, value)
            elif value:
                raise _unreadable(operand)
    if not operands:
        # What nobody reads marks the entry as taken.
        _set(content, start, each.members[0], -1)
    _set(content, 0, members["usdt_cookie"], cookie)
    _set(content, 0, members["arg_cnt"], len(operands))
    return bytes(content)


def _fields(operand: Operand) -> dict[str, int]:
    """What `struct __bpf_usdt_arg_spec` has for an argument, by name."""
    if operand.kind == "":
        raise _unreadable(operand)
    kinds = {"constant": _CONSTANT, "register": _REGISTER, "memory": _MEMORY}
    kind = _INDEXED if operand.index_register else kinds[operand.kind]
    return {
        "val_off": operand.value,
        "arg_type": kind,
        "reg_off": _offset(operand, operand.register),
        "arg_signed": operand.signed,
        "arg_bitshift": 64 - 8 * operand.size,
        "idx_reg_off": _offset(operand, operand.index_register),
        "scale_bitshift": operand.scale.bit_length() - 1,
    }


def _offset(operand: Operand, register: str) -> int:
    found = offset_of(register) if register else 0
    if found is None or register in HIGH_BYTES:
        raise _unreadable(operand)
    return found


def _unreadable(operand: Operand) -> AttachError:
    return AttachError(
        f"an argument of the probe is in {operand.text!r}, which programs of libbpf "
        "cannot read"
    )


def _set(content: bytearray, base: int, member: Member, value: int) -> None:
    """Write a member, `base` bits into the content; bit-fields too."""
    bits = member.bitfield_bits or 8 * size_of(member.type)
    at = base + member.offset_bits
    whole = int.from_bytes(content, "little")
    mask = (1 << bits) - 1
    whole = whole & ~(mask << at) | (value & mask) << at
    content[:] = whole.to_bytes(len(content), "little")


def _addresses(binary: Binary, found: Sequence[StaticProbe], pid: int) -> list[int]:
    """Where the places are in memory: of one process, or wherever it runs.

    Raises:
        NotSupported: nothing tells: without cookies a process has to be named.
    """
    if pid > 0:
        inode = os.fstat(binary.fd).st_ino
        offsets = [binary.file_offset(each.address) for each in found]
        maps = [m for m in Mappings.read(pid) if m.inode == inode]
        places = [
            m.start + offset - m.offset
            for offset in offsets
            for m in maps
            if m.offset <= offset < m.offset + m.end - m.start
        ]
        if len(places) == len(found):
            return places
    raise NotSupported(
        errno.EINVAL,
        "static probes without cookies of perf events, in all processes"
        " (name one: pid=...)",
        "5.15",
    )
