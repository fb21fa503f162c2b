"""Programs that run without a link: attached in the older way, or from a table."""

import os
import struct
from collections.abc import Iterator

from beewire.bpf.btf import FuncProto, Ptr, Struct, strip
from beewire.bpf.kernel import attr, ids, places, syscall
from beewire.bpf.kernel.btf_cache import kernel_index
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.inspection.links import perf_name
from beewire.bpf.kernel.inspection.owners import PERF_EVENT, Held
from beewire.bpf.kernel.inspection.states import Attachment, MapState
from beewire.bpf.kernel.links.query import ids_at
from beewire.bpf.kernel.versions import ATTACH_KINDS
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import BeewireError

_TABLE_MOST = 4096  # entries of one table that are looked at
_TEXT = 512

_CGROUP_KINDS = tuple(
    kind
    for kind in AttachKind
    if kind.name.startswith("CGROUP_") or kind is AttachKind.LSM_CGROUP
)
_NETNS_KINDS = (AttachKind.FLOW_DISSECTOR, AttachKind.SK_LOOKUP)
_SOCKMAP_KINDS = (
    *(AttachKind.SK_MSG_VERDICT, AttachKind.SK_SKB_STREAM_PARSER),
    *(AttachKind.SK_SKB_STREAM_VERDICT, AttachKind.SK_SKB_VERDICT),
)
# enum bpf_task_fd_type
_FD_TYPES = (
    *("raw_tracepoint", "tracepoint", "kprobe", "kretprobe", "uprobe", "uretprobe"),
)

Found = tuple[int, Attachment]  # with the id of the program


def in_cgroups(types: set[str]) -> Iterator[Found]:
    """What the cgroups below the mount run, links included.

    Only what takes programs of these types is asked for: there may be many cgroups.
    """
    kinds = [kind for kind in _CGROUP_KINDS if ATTACH_KINDS[kind][0].name in types]
    if not kinds:
        return
    places.cgroups.cache_clear()
    for path in places.cgroups().values():
        try:
            fd = syscall.open_file(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue  # removed meanwhile
        try:
            for kind in kinds:
                for number, _ in ids_at(fd, kind):
                    yield number, Attachment(kind.name.lower(), path)
        finally:
            os.close(fd)


def in_namespace(path: str, name: str) -> Iterator[Found]:
    """What a network namespace runs for itself, links included."""
    try:
        fd = syscall.open_file(path)
    except OSError:
        return
    try:
        for kind in _NETNS_KINDS:
            for number, _ in ids_at(fd, kind):
                yield number, Attachment(kind.name.lower(), name)
    finally:
        os.close(fd)


def on_receivers(types: set[str]) -> Iterator[Found]:
    """What the infrared devices of this machine run."""
    if ProgramKind.LIRC_MODE2.name not in types:
        return
    for path in places.infrared():
        try:
            fd = syscall.open_file(path, os.O_RDWR | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            for number, _ in ids_at(fd, AttachKind.LIRC_MODE2):
                yield number, Attachment("lirc_mode2", path)
        finally:
            os.close(fd)


def by_perf_events(held: list[Held]) -> Iterator[Found]:
    """What perf events run, links included: samples, kprobes, uprobes, tracepoints."""
    for each in held:
        if each.kind != PERF_EVENT:
            continue
        room = bytearray(_TEXT)
        record = attr.TASK_FD_QUERY.pack(
            pid=each.pid, fd=each.fd, buf=syscall.address(room), buf_len=len(room)
        )
        # EOPNOTSUPP: no tracepoint or probe; what such an event runs itself is known.
        if syscall.try_bpf(syscall.Cmd.TASK_FD_QUERY, record) < 0:
            if each.id:
                yield each.id, Attachment("perf_event", perf_name(*each.event))
            continue
        name = room.split(b"\0")[0].decode(errors="replace")
        number = attr.TASK_FD_QUERY.integer(record, "fd_type")
        offset = attr.TASK_FD_QUERY.integer(record, "probe_offset")
        hook = _FD_TYPES[number] if number < len(_FD_TYPES) else f"type {number}"
        where = f"{name}:{offset:#x}" if hook in {"uprobe", "uretprobe"} else name
        yield attr.TASK_FD_QUERY.integer(record, "prog_id"), Attachment(hook, where)


def in_tables(maps: tuple[MapState, ...]) -> Iterator[Found]:
    """Programs that stand in maps: tail calls, and sockmaps that ask a program."""
    for each in maps:
        if each.kind == "PROG_ARRAY":
            yield from _tail_calls(each)
        elif each.kind in {"SOCKMAP", "SOCKHASH"}:
            yield from _verdicts(each)
        elif each.kind == "STRUCT_OPS":
            yield from _operations(each)


def _tail_calls(table: MapState) -> Iterator[Found]:
    fd = ids.try_open(ids.MAP, table.id)
    if fd < 0:
        return
    with Descriptor(fd):
        for place in range(min(table.max_entries, _TABLE_MOST)):
            key, value = bytearray(struct.pack("=I", place)), bytearray(4)
            record = attr.MAP_ELEM.pack(
                map_fd=fd, key=syscall.address(key), value=syscall.address(value)
            )
            if syscall.try_bpf(syscall.Cmd.MAP_LOOKUP_ELEM, record) >= 0:
                where = f"map {table.id} ({table.name})[{place}]"
                yield struct.unpack("=I", value)[0], Attachment("tail_call", where)


def _verdicts(table: MapState) -> Iterator[Found]:
    fd = ids.try_open(ids.MAP, table.id)
    if fd < 0:
        return
    with Descriptor(fd):
        for kind in _SOCKMAP_KINDS:
            for number, _ in ids_at(fd, kind):
                yield number, Attachment(kind.name.lower(), f"map {table.id}")


def _operations(table: MapState) -> Iterator[Found]:
    """The members of a table of operations; the kernel tells programs by their ids."""
    fd = ids.try_open(ids.MAP, table.id)
    if fd < 0:
        return
    with Descriptor(fd):
        key, value = bytearray(4), bytearray(table.value_size)
        record = attr.MAP_ELEM.pack(
            map_fd=fd, key=syscall.address(key), value=syscall.address(value)
        )
        if syscall.try_bpf(syscall.Cmd.MAP_LOOKUP_ELEM, record) < 0:
            return
    for member, at in _members(table.table_type_id):
        number = struct.unpack_from("=Q", value, at)[0] if at + 8 <= len(value) else 0
        if number:
            where = f"map {table.id} ({table.name}).{member}"
            yield number, Attachment("struct_ops", where)


def _members(type_id: int) -> Iterator[tuple[str, int]]:
    """The functions in a table of operations, and where they stand in bytes."""
    try:
        node = kernel_index().type(type_id)
    except (BeewireError, IndexError):
        return  # a module's table, or no types at all
    members = node.members if isinstance(node, Struct) else ()
    for outer in members:
        inner = strip(outer.type)
        # struct bpf_struct_ops_NAME: what all have in common, then the table itself.
        if outer.name == "data" and isinstance(inner, Struct):
            for each in inner.members:
                target = strip(each.type)
                if isinstance(target, Ptr) and isinstance(strip(target.to), FuncProto):
                    yield each.name, (outer.offset_bits + each.offset_bits) // 8
