"""Links as BPF_OBJ_GET_INFO_BY_FD tells of them: each kind has a record of its own."""

import os
from collections.abc import Callable, Iterator

from beewire.bpf.btf import Func, Typedef
from beewire.bpf.kernel import attr, ids, places, syscall, versions
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.inspection.states import LinkState
from beewire.bpf.kernel.links.perf_names import Event, event_names, find_event
from beewire.bpf.object import AttachKind
from beewire.errors import BeewireError

_TEXT = 512  # more than paths of probed files usually have
_HEAD = """
    u32 type
    u32 id
    u32 prog_id
    u32 _pad
"""
_NAMES = {int(kind): kind.name for kind in AttachKind}

# struct bpf_link_info: what follows the head, by kind of link.
_RAW_TRACEPOINT = attr.Record(
    f"{_HEAD}u64 tp_name\nu32 tp_name_len\nu32 _pad2\nu64 cookie"
)
_TRACING = attr.Record(
    f"{_HEAD}u32 attach_type\nu32 target_obj_id\nu32 target_btf_id\nu32 _pad2\nu64 cookie"
)
_CGROUP = attr.Record(f"{_HEAD}u64 cgroup_id\nu32 attach_type\nu32 _pad2")
_ITER = attr.Record(
    f"{_HEAD}u64 target_name\nu32 target_name_len\nu32 map_id\nu32 _word1\nu32 _word2"
)
_NETNS = attr.Record(f"{_HEAD}u32 netns_ino\nu32 attach_type")
_XDP = attr.Record(f"{_HEAD}u32 ifindex\nu32 _pad2")
_STRUCT_OPS = attr.Record(f"{_HEAD}u32 map_id\nu32 _pad2")
_NETFILTER = attr.Record(f"{_HEAD}u32 pf\nu32 hooknum\ns32 priority\nu32 flags")
_INTERFACE = attr.Record(f"{_HEAD}u32 ifindex\nu32 attach_type")
_SOCKMAP = attr.Record(f"{_HEAD}u32 map_id\nu32 attach_type")
_KPROBE_MULTI = attr.Record(
    f"{_HEAD}u64 addrs\nu32 count\nu32 flags\nu64 missed\nu64 cookies"
)
_UPROBE_MULTI = attr.Record(
    f"{_HEAD}u64 path\nu64 offsets\nu64 ref_ctr_offsets\nu64 cookies\nu32 path_size\n"
    "u32 count\nu32 flags\nu32 pid"
)
_PERF = attr.Record(
    f"{_HEAD}u32 event\nu32 _pad2\nu64 name\nu32 name_len\nu32 offset\nu64 a\nu64 b\nu64 c"
)
_PERF_CONFIG = attr.Record(
    f"{_HEAD}u32 event\nu32 _pad2\nu64 config\nu32 perf_type\nu32 _pad3\nu64 cookie"
)
# enum bpf_perf_event_type
_UPROBE, _URETPROBE, _KPROBE, _KRETPROBE, _TRACEPOINT, _EVENT = range(1, 7)
_FAMILIES = {2: "ipv4", 3: "arp", 5: "netdev", 7: "bridge", 10: "ipv6", 12: "decnet"}
_NF_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
_RETURN = 1  # BPF_F_KPROBE_MULTI_RETURN, BPF_F_UPROBE_MULTI_RETURN

Fields = dict[str, int]
Told = tuple[str, str, dict[str, object]]  # hook, target, details


def links() -> Iterator[LinkState]:
    """Every link there is.

    Raises:
        NotPermitted: CAP_SYS_ADMIN is missing.
    """
    for _, handle in ids.descriptors(ids.LINK):
        yield link_state(handle.fd)


def link_state(fd: int) -> LinkState:
    """The link behind `fd`."""
    head = _read(fd, attr.Record(_HEAD))
    known = versions.LINK_TYPES.get(head["type"])
    kind = known[0] if known else f"type {head['type']}"
    hook, target, details = _TELL[kind](fd) if kind in _TELL else (kind.lower(), "", {})
    return LinkState(head["id"], kind, head["prog_id"], hook, target, details)


def _read(fd: int, record: attr.Record, **given: int) -> Fields:
    """BPF_OBJ_GET_INFO_BY_FD, with pointers to room in `given`."""
    info = record.pack(**given)
    request = attr.INFO.pack(bpf_fd=fd, info_len=len(info), info=syscall.address(info))
    syscall.bpf(syscall.Cmd.OBJ_GET_INFO_BY_FD, request, "read a link")
    return {
        name: value
        for name, value in record.unpack(info).items()
        if isinstance(value, int)
    }


def _with_text(
    fd: int, record: attr.Record, pointer: str, size: str
) -> tuple[Fields, str]:
    room = bytearray(_TEXT)
    found = _read(fd, record, **{pointer: syscall.address(room), size: len(room)})
    return found, room.split(b"\0")[0].decode(errors="replace")


def _hook(number: int) -> str:
    """An attach kind as programs' authors know it: "cgroup_inet4_connect"."""
    return _NAMES.get(number, f"attach type {number}").lower()


def _raw_tracepoint(fd: int) -> Told:
    found, name = _with_text(fd, _RAW_TRACEPOINT, "tp_name", "tp_name_len")
    return "raw_tracepoint", name, _cookie(found)


def _tracing(fd: int) -> Told:
    found = _read(fd, _TRACING)
    target = _traced(found["target_obj_id"], found["target_btf_id"])
    details = {name: found[name] for name in ("target_obj_id", "target_btf_id")}
    return _hook(found["attach_type"]), target, details | _cookie(found)


def _traced(obj_id: int, btf_id: int) -> str:
    """The function that is traced: the kernel's, or another program's."""
    program = ids.try_open(ids.PROGRAM, obj_id) if obj_id else -1
    try:
        if program >= 0 and not _is_vmlinux(obj_id):
            return _of_program(program, btf_id)
    finally:
        if program >= 0:
            os.close(program)
    from beewire.bpf.kernel.btf_cache import kernel_index  # noqa: PLC0415 - may take 50 ms

    try:
        node = kernel_index().type(btf_id)
    except (BeewireError, IndexError):
        return ""
    name = node.name if isinstance(node, Func | Typedef) else ""
    return name.removeprefix("btf_trace_").removeprefix("bpf_lsm_")


def _is_vmlinux(obj_id: int) -> bool:
    """Whether an id is that of the kernel's own BTF; ids of programs count apart."""
    fd = ids.try_open(ids.BTF, obj_id)
    if fd < 0:
        return False
    with Descriptor(fd):
        return bool(
            attr.BTF_INFO.integer(syscall.read_info(fd, attr.BTF_INFO), "kernel_btf")
        )


def _of_program(fd: int, btf_id: int) -> str:
    from beewire.bpf.kernel.btf_objects import types_of  # noqa: PLC0415 - rare

    info = syscall.read_info(fd, attr.PROG_INFO)
    types = types_of(attr.PROG_INFO.integer(info, "btf_id"))
    node = types.type(btf_id) if types else None
    name = node.name if isinstance(node, Func) else ""
    return f"{name} of program {attr.PROG_INFO.integer(info, 'id')}"


def _cgroup(fd: int) -> Told:
    found = _read(fd, _CGROUP)
    number = found["cgroup_id"]
    where = places.cgroup_path(number) if number else "detached"
    return _hook(found["attach_type"]), where, {"cgroup_id": number}


def _iterator(fd: int) -> Told:
    found, name = _with_text(fd, _ITER, "target_name", "target_name_len")
    of_map = name in {"bpf_map_elem", "bpf_sk_storage_map", "sockmap"}
    details: dict[str, object] = {"map_id": found["map_id"]} if of_map else {}
    return "iter", name, details


def _netns(fd: int) -> Told:
    found = _read(fd, _NETNS)
    inode = found["netns_ino"]
    where = places.namespace_name(inode) if inode else "detached"
    return _hook(found["attach_type"]), where, {"netns_ino": inode}


def _xdp(fd: int) -> Told:
    found = _read(fd, _XDP)
    return "xdp", _interface(found["ifindex"]), {"ifindex": found["ifindex"]}


def _of_interface(fd: int) -> Told:
    found = _read(fd, _INTERFACE)
    details: dict[str, object] = {"ifindex": found["ifindex"]}
    return _hook(found["attach_type"]), _interface(found["ifindex"]), details


def _interface(index: int) -> str:
    return f"interface {index}" if index else "detached"


def _struct_ops(fd: int) -> Told:
    number = _read(fd, _STRUCT_OPS)["map_id"]
    return "struct_ops", f"map {number}" if number else "detached", {"map_id": number}


def _netfilter(fd: int) -> Told:
    found = _read(fd, _NETFILTER)
    family = _FAMILIES.get(found["pf"], f"family {found['pf']}")
    number = found["hooknum"]
    hook = _NF_HOOKS[number] if number < len(_NF_HOOKS) else f"hook {number}"
    details: dict[str, object] = {
        "priority": found["priority"],
        "flags": found["flags"],
    }
    return "netfilter", f"{family} {hook} {found['priority']}", details


def _sockmap(fd: int) -> Told:
    found = _read(fd, _SOCKMAP)
    where = f"map {found['map_id']}" if found["map_id"] else "detached"
    return _hook(found["attach_type"]), where, {"map_id": found["map_id"]}


def _kprobe_multi(fd: int) -> Told:
    found = _read(fd, _KPROBE_MULTI)
    hook = "kretprobe.multi" if found["flags"] & _RETURN else "kprobe.multi"
    count = found["count"]
    details: dict[str, object] = {"count": count, "missed": found["missed"]}
    return hook, f"{count} functions", details


def _uprobe_multi(fd: int) -> Told:
    found, path = _with_text(fd, _UPROBE_MULTI, "path", "path_size")
    hook = "uretprobe.multi" if found["flags"] & _RETURN else "uprobe.multi"
    details: dict[str, object] = {"count": found["count"], "pid": found["pid"]}
    return hook, f"{path} ({found['count']} places)", details


def _perf_event(fd: int) -> Told:
    event = _read(fd, _PERF_CONFIG)
    kind = event["event"]
    if kind == _EVENT:
        return (
            "perf_event",
            perf_name(event["perf_type"], event["config"]),
            _cookie(event),
        )
    if kind not in _PERF_HOOKS:  # the kernel tells nothing of them, before Linux 6.6
        return "perf_event", "", {}
    found, name = _with_text(fd, _PERF, "name", "name_len")
    hook = _PERF_HOOKS[kind]
    if kind == _TRACEPOINT:
        # There the cookie follows name_len.
        return hook, name, {}
    offset = found["offset"]
    if kind in (_UPROBE, _URETPROBE):
        return hook, f"{name}:{offset:#x}", {"offset": offset}
    details: dict[str, object] = {
        "offset": offset,
        "address": found["a"],
        "missed": found["b"],
    }
    return hook, f"{name}+{offset:#x}" if offset else name, details


_PERF_HOOKS = {
    _UPROBE: "uprobe",
    _URETPROBE: "uretprobe",
    _KPROBE: "kprobe",
    _KRETPROBE: "kretprobe",
    _TRACEPOINT: "tracepoint",
}


def perf_name(kind: int, config: int, unit: str = "") -> str:
    """A perf event as perf-list(1) names it, or by the `unit` that counts it."""
    wanted = Event(kind, config)
    known = (name for name in event_names() if find_event(name) == wanted)
    return next(known, f"{unit or f'type {kind}'}, config {config:#x}")


def _cookie(found: Fields) -> dict[str, object]:
    return {"cookie": found["cookie"]} if found["cookie"] else {}


_TELL: dict[str, Callable[[int], Told]] = {
    "RAW_TRACEPOINT": _raw_tracepoint,
    "TRACING": _tracing,
    "CGROUP": _cgroup,
    "ITER": _iterator,
    "NETNS": _netns,
    "XDP": _xdp,
    "PERF_EVENT": _perf_event,
    "KPROBE_MULTI": _kprobe_multi,
    "STRUCT_OPS": _struct_ops,
    "NETFILTER": _netfilter,
    "TCX": _of_interface,
    "UPROBE_MULTI": _uprobe_multi,
    "NETKIT": _of_interface,
    "SOCKMAP": _sockmap,
}
