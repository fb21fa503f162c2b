"""Links as BPF_OBJ_GET_INFO_BY_FD tells of them: each kind has a record of its own."""

from collections.abc import Callable, Iterator

from beewire.bpf.btf import Func, Typedef
from beewire.bpf.kernel import attr, ids, modules, places, syscall, versions
from beewire.bpf.kernel.btf_cache import kernel_index
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.inspection.states import LinkState
from beewire.bpf.kernel.links import records
from beewire.bpf.kernel.links.perf_names import Event, event_names, find_event
from beewire.bpf.object import AttachKind
from beewire.errors import BeewireError

_TEXT = 512  # more than paths of probed files usually have
_NAMES = {int(kind): kind.name for kind in AttachKind}

# enum bpf_perf_event_type
_UPROBES = {1: "uprobe", 2: "uretprobe"}
_KPROBES = {3: "kprobe", 4: "kretprobe"}
_TRACEPOINT, _EVENT = 5, 6
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
    head = _read(fd, records.HEAD)
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
    found, name = _with_text(fd, records.RAW_TRACEPOINT, "tp_name", "tp_name_len")
    return "raw_tracepoint", name, _cookie(found)


def _tracing(fd: int) -> Told:
    found = _read(fd, records.TRACING)
    target = _traced(found["target_obj_id"], found["target_btf_id"])
    details = {name: found[name] for name in ("target_obj_id", "target_btf_id")}
    # Extensions have no attach kind: it is 0, another's number.
    hook = _hook(found["attach_type"]) if found["attach_type"] else "freplace"
    return hook, target, details | _cookie(found)


def _traced(obj_id: int, btf_id: int) -> str:
    """The function that is traced: the kernel's, a module's, or another program's.

    The kernel tells the id of a BTF object or of a program, and not which of the two.
    """
    module = _module(obj_id)
    if not module:
        program = ids.try_open(ids.PROGRAM, obj_id)
        if program < 0:
            return ""
        with Descriptor(program):
            return _of_program(program, btf_id)
    try:
        base = kernel_index()
        index = base if module == "vmlinux" else modules.index_of(base, module)
        node = index.type(btf_id) if index else None
    except (BeewireError, IndexError):
        return ""
    name = node.name if isinstance(node, Func | Typedef) else ""
    return name.removeprefix("btf_trace_").removeprefix("bpf_lsm_")


def _module(obj_id: int) -> str:
    """The module of a BTF object, "vmlinux", or "" for one that is not the kernel's."""
    fd = ids.try_open(ids.BTF, obj_id)
    if fd < 0:
        return ""
    with Descriptor(fd):
        return modules.module_of(fd)


def _of_program(fd: int, btf_id: int) -> str:
    from beewire.bpf.kernel.btf_objects import types_of  # noqa: PLC0415 - rare

    info = syscall.read_info(fd, attr.PROG_INFO)
    types = types_of(attr.PROG_INFO.integer(info, "btf_id"))
    node = types.type(btf_id) if types else None
    name = node.name if isinstance(node, Func) else ""
    return f"{name} of program {attr.PROG_INFO.integer(info, 'id')}"


def _cgroup(fd: int) -> Told:
    found = _read(fd, records.CGROUP)
    number = found["cgroup_id"]
    where = places.cgroup_path(number) if number else "detached"
    return _hook(found["attach_type"]), where, {"cgroup_id": number}


def _iterator(fd: int) -> Told:
    found, name = _with_text(fd, records.ITER, "target_name", "target_name_len")
    of_map = name in {"bpf_map_elem", "bpf_sk_storage_map", "sockmap"}
    details: dict[str, object] = {"map_id": found["map_id"]} if of_map else {}
    return "iter", name, details


def _netns(fd: int) -> Told:
    found = _read(fd, records.NETNS)
    inode = found["netns_ino"]
    where = places.namespace_name(inode) if inode else "detached"
    return _hook(found["attach_type"]), where, {"netns_ino": inode}


def _xdp(fd: int) -> Told:
    found = _read(fd, records.XDP)
    return "xdp", _interface(found["ifindex"]), {"ifindex": found["ifindex"]}


def _of_interface(fd: int) -> Told:
    found = _read(fd, records.INTERFACE)
    details: dict[str, object] = {"ifindex": found["ifindex"]}
    return _hook(found["attach_type"]), _interface(found["ifindex"]), details


def _interface(index: int) -> str:
    return f"interface {index}" if index else "detached"


def _struct_ops(fd: int) -> Told:
    number = _read(fd, records.STRUCT_OPS)["map_id"]
    return "struct_ops", f"map {number}" if number else "detached", {"map_id": number}


def _netfilter(fd: int) -> Told:
    found = _read(fd, records.NETFILTER)
    family = _FAMILIES.get(found["pf"], f"family {found['pf']}")
    number = found["hooknum"]
    hook = _NF_HOOKS[number] if number < len(_NF_HOOKS) else f"hook {number}"
    details: dict[str, object] = {
        "priority": found["priority"],
        "flags": found["flags"],
    }
    return "netfilter", f"{family} {hook} {found['priority']}", details


def _sockmap(fd: int) -> Told:
    found = _read(fd, records.SOCKMAP)
    where = f"map {found['map_id']}" if found["map_id"] else "detached"
    return _hook(found["attach_type"]), where, {"map_id": found["map_id"]}


def _kprobe_multi(fd: int) -> Told:
    found = _read(fd, records.KPROBE_MULTI)
    hook = "kretprobe.multi" if found["flags"] & _RETURN else "kprobe.multi"
    count = found["count"]
    details: dict[str, object] = {"count": count, "missed": found["missed"]}
    return hook, f"{count} functions", details


def _uprobe_multi(fd: int) -> Told:
    found, path = _with_text(fd, records.UPROBE_MULTI, "path", "path_size")
    hook = "uretprobe.multi" if found["flags"] & _RETURN else "uprobe.multi"
    details: dict[str, object] = {"count": found["count"], "pid": found["pid"]}
    return hook, f"{path} ({found['count']} places)", details


def _perf_event(fd: int) -> Told:
    # Before Linux 6.6 the kernel tells nothing of them: the kind is 0.
    event = _read(fd, records.PERF_EVENT)
    kind = event["event"]
    if kind == _EVENT:
        name = perf_name(event["perf_type"], event["config"])
        return "perf_event", name, _cookie(event)
    if kind == _TRACEPOINT:
        found, name = _with_text(fd, records.PERF_TRACEPOINT, "tp_name", "name_len")
        return "tracepoint", name, _cookie(found)
    if kind in _UPROBES:
        found, name = _with_text(fd, records.PERF_UPROBE, "file_name", "name_len")
        offset = found["offset"]
        told = {"offset": offset, **_cookie(found)}
        return _UPROBES[kind], f"{name}:{offset:#x}", told
    if kind in _KPROBES:
        found, name = _with_text(fd, records.PERF_KPROBE, "func_name", "name_len")
        offset = found["offset"]
        told = {key: found[key] for key in ("offset", "addr", "missed")}
        where = f"{name}+{offset:#x}" if offset else name
        return _KPROBES[kind], where, told | _cookie(found)
    return "perf_event", "", {}


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
