"""Programs and maps as BPF_OBJ_GET_INFO_BY_FD and /proc tell of them."""

import struct
import time
from functools import cache

from beewire.bpf.kernel import attr, ids, syscall
from beewire.bpf.kernel.inspection.states import MapState, ProgramState
from beewire.bpf.kernel.privilege import read_text
from beewire.bpf.object import MapKind, ProgramKind
from beewire.hints import Iterator


def kind_name(kinds: type[MapKind] | type[ProgramKind], number: int) -> str:
    """The name of a kind; a newer kernel has some without."""
    known = {int(kind): kind.name for kind in kinds}
    return known.get(number, f"type {number}")


def programs() -> Iterator[ProgramState]:
    """Every program there is.

    Raises:
        NotPermitted: CAP_SYS_ADMIN is missing.
    """
    for _, handle in ids.descriptors(ids.PROGRAM):
        yield program_state(handle.fd)


def program_state(fd: int) -> ProgramState:
    """The program behind `fd`."""
    info = _program_info(fd)
    number = attr.PROG_INFO.integer
    return ProgramState(
        id=number(info, "id"),
        kind=kind_name(ProgramKind, number(info, "type")),
        name=attr.PROG_INFO.text(info, "name"),
        tag=attr.PROG_INFO.octets(info, "tag").hex(),
        loaded_at=round(_booted() + number(info, "load_time") / 1e9, 3),
        uid=number(info, "created_by_uid"),
        gpl=bool(number(info, "gpl_compatible") & 1),
        jited_size=number(info, "jited_prog_len"),
        xlated_size=number(info, "xlated_prog_len"),
        memory=_told(fd, "memlock"),
        verified_insns=number(info, "verified_insns"),
        run_time_ns=number(info, "run_time_ns"),
        run_count=number(info, "run_cnt"),
        recursion_misses=number(info, "recursion_misses"),
        map_ids=_map_ids(fd, number(info, "nr_map_ids")),
        btf_id=number(info, "btf_id"),
    )


def _program_info(fd: int) -> bytearray:
    return syscall.read_info(fd, attr.PROG_INFO)


def runs(fd: int) -> tuple[int, int]:
    """How often the program behind `fd` ran, and for how many ns."""
    info = _program_info(fd)
    number = attr.PROG_INFO.integer
    return number(info, "run_cnt"), number(info, "run_time_ns")


def _map_ids(fd: int, count: int) -> tuple[int, ...]:
    if not count:
        return ()
    found = bytearray(4 * count)
    request = attr.PROG_INFO.pack(nr_map_ids=count, map_ids=syscall.address(found))
    arguments = attr.INFO.pack(
        bpf_fd=fd, info_len=len(request), info=syscall.address(request)
    )
    syscall.bpf(syscall.Cmd.OBJ_GET_INFO_BY_FD, arguments, "read a program's maps")
    return struct.unpack(f"={count}I", found)


def maps() -> Iterator[MapState]:
    """Every map there is.

    Raises:
        NotPermitted: CAP_SYS_ADMIN is missing.
    """
    for _, handle in ids.descriptors(ids.MAP):
        yield map_state(handle.fd)


def map_state(fd: int) -> MapState:
    """The map behind `fd`."""
    info = syscall.read_info(fd, attr.MAP_INFO)
    number = attr.MAP_INFO.integer
    return MapState(
        id=number(info, "id"),
        kind=kind_name(MapKind, number(info, "type")),
        name=attr.MAP_INFO.text(info, "name"),
        key_size=number(info, "key_size"),
        value_size=number(info, "value_size"),
        max_entries=number(info, "max_entries"),
        flags=number(info, "map_flags"),
        memory=_told(fd, "memlock"),
        frozen=bool(_told(fd, "frozen")),
        btf_id=number(info, "btf_id"),
        key_type_id=number(info, "btf_key_type_id"),
        value_type_id=number(info, "btf_value_type_id"),
        table_type_id=number(info, "btf_vmlinux_value_type_id"),
    )


def _told(fd: int, field: str) -> int:
    """A number that only /proc tells, or 0."""
    for line in read_text(f"/proc/self/fdinfo/{fd}").split("\n"):
        name, _, value = line.partition(":")
        if name == field:
            return int(value)
    return 0


@cache
def _booted() -> float:
    """When the machine was started, in Unix time: load times count from there."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
