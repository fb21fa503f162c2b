"""Kinds of attachments: where attaching can be told from its harmless beginning, only that.

A link is asked for with a target that does not exist: that the target is complained about
shows that the kernel came as far as looking for it. What hooks functions of the kernel is
attached in earnest, for some microseconds: to functions that only the kernel's own tests
call, and to a security hook that hardly anybody meets.
"""

import errno
import struct
from collections.abc import Callable

from beewire.bpf import isa
from beewire.bpf.btf import Kind
from beewire.bpf.kernel import attr, privilege, syscall, versions
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.features import maps
from beewire.bpf.kernel.features.feature import (
    Answer,
    Feature,
    Outcome,
    ask,
    judge,
    no,
)
from beewire.bpf.kernel.features.listed import absent, missing_type, type_id
from beewire.bpf.kernel.features.programs import TRIVIAL
from beewire.bpf.kernel.probed import try_program
from beewire.bpf.kernel.versions import MapFlag
from beewire.bpf.object import AttachKind, MapKind, ProgramKind

# Hooks of functions take programs that return 0, some others only such as return 1.
_BY_TYPE = (ProgramKind.TRACING, ProgramKind.LSM)
_ONE = (isa.mov_imm(0, 1), isa.exit_insn())
_NOBODY = 0xFFFF_FFFF  # a descriptor that is not open
_NOWHERE = 0x7FFF_FFFF  # an interface that does not exist
_NETWORK = ("CAP_NET_ADMIN",)
_TRACING = ("CAP_PERFMON",)
_LSMS = "/sys/kernel/security/lsm"

# BTF names of what is hooked, where the kind of program hooks by BTF; the second is for
# kernels in which the first may not be hooked that way.
_TEST = ("bpf_fentry_test1",)
_HOOKS: dict[AttachKind, tuple[tuple[str, ...], Kind]] = {
    AttachKind.TRACE_RAW_TP: (("btf_trace_sched_switch",), Kind.TYPEDEF),
    AttachKind.TRACE_FENTRY: (_TEST, Kind.FUNC),
    AttachKind.TRACE_FEXIT: (_TEST, Kind.FUNC),
    AttachKind.TRACE_FSESSION: (_TEST, Kind.FUNC),
    # The test's function only where errors may be injected into functions.
    AttachKind.MODIFY_RETURN: (
        ("bpf_modify_return_test", "security_quota_on"),
        Kind.FUNC,
    ),
    AttachKind.TRACE_ITER: (("bpf_iter_task",), Kind.FUNC),
    AttachKind.LSM_MAC: (("bpf_lsm_quota_on",), Kind.FUNC),
    AttachKind.LSM_CGROUP: (("bpf_lsm_socket_bind",), Kind.FUNC),
}


def attach_kind(kind: AttachKind) -> Feature:
    """Whether programs can be attached this way."""
    since = versions.ATTACH_KINDS[kind][1]
    return ask("attach type", kind.name, since, lambda: _try(kind))


def _try(kind: AttachKind) -> Outcome:
    if (gone := absent("bpf_attach_type", f"BPF_{kind.name}")) is not None:
        return gone
    if kind in _WAYS:
        return _WAYS[kind](kind)
    return _with_program(kind, _LINKS.get(kind, _loads))


def _with_program(
    kind: AttachKind, then: Callable[[AttachKind, int], Outcome]
) -> Outcome:
    """What comes of a program that is loaded for this kind."""
    program, _ = versions.ATTACH_KINDS[kind]
    insns = TRIVIAL if program in _BY_TYPE else _ONE
    result = -errno.ENOENT
    for fields in _ways_to_load(kind):
        result = try_program(insns, program, **fields)
        if result >= 0:
            break
    if result == -errno.ENOENT and kind in _HOOKS:
        return no(missing_type(_HOOKS[kind][0][0]))
    if result < 0:
        return judge(result, privilege.program_needs(program))
    with Descriptor(result) as handle:
        return then(kind, handle.fd)


def _ways_to_load(kind: AttachKind) -> list[dict[str, int]]:
    """The fields of BPF_PROG_LOAD for this kind; none where there is nothing to hook."""
    if kind is AttachKind.PERF_EVENT:
        return [{}]
    fields = {"expected_attach_type": int(kind)}
    if kind not in _HOOKS:
        return [fields]
    names, what = _HOOKS[kind]
    numbers = [type_id(name, what) for name in names]
    return [fields | {"attach_btf_id": number} for number in numbers if number]


def _loads(_kind: AttachKind, _program: int) -> Outcome:
    """BPF_PROG_LOAD checks the kind: that the program is there is the answer."""
    return Outcome(Answer.YES)


def _link(kind: AttachKind, program: int, target: int) -> int:
    record = attr.LINK_CREATE.pack(prog_fd=program, target_fd=target, attach_type=kind)
    return syscall.try_bpf(syscall.Cmd.LINK_CREATE, record)


def _by_descriptor(kind: AttachKind, program: int) -> Outcome:
    """A cgroup, a network namespace or a perf event that is not open is EBADF."""
    return judge(_link(kind, program, _NOBODY), _NETWORK, (errno.EBADF,))


def _by_interface(kind: AttachKind, program: int) -> Outcome:
    """An interface that does not exist is ENODEV."""
    return judge(_link(kind, program, _NOWHERE), _NETWORK, (errno.ENODEV,))


def _iterator(kind: AttachKind, program: int) -> Outcome:
    """An iterator that nobody reads does nothing."""
    return judge(_link(kind, program, 0), _TRACING)


def _in_earnest(kind: AttachKind, program: int) -> Outcome:
    """Attach to where nothing comes by, and detach."""
    result = _link(kind, program, 0)
    if result == -errno.EINVAL and kind is not AttachKind.TRACE_FSESSION:
        # Before Linux 5.15 BPF_LINK_CREATE did not do this.
        record = attr.RAW_TRACEPOINT.pack(prog_fd=program)
        result = syscall.try_bpf(syscall.Cmd.RAW_TRACEPOINT_OPEN, record)
    return judge(result, _TRACING)


def _lsm(kind: AttachKind, program: int) -> Outcome:
    """A security hook asks programs only where "bpf" is one of the active modules."""
    if (asleep := _asleep()) is not None:
        return asleep
    return _in_earnest(kind, program)


def _lsm_cgroup(_kind: AttachKind, _program: int) -> Outcome:
    """It is run by the same means as an exit of a function: without a cgroup at hand."""
    if (asleep := _asleep()) is not None:
        return asleep
    return _try(AttachKind.TRACE_FEXIT)


def _asleep() -> Outcome | None:
    active = privilege.read_text(_LSMS)
    if not active or "bpf" in active.split(","):
        return None
    return no(
        f'"bpf" is not among the active security modules ({active}): boot with '
        f"lsm={active},bpf"
    )


def _sockmap(kind: AttachKind, program: int) -> Outcome:
    """Attach to a map without sockets, and close both."""
    result = maps.create(MapKind.SOCKMAP)
    if result < 0:
        return judge(result, _NETWORK)
    with Descriptor(result) as handle:
        record = attr.PROG_ATTACH.pack(
            target_fd=handle.fd, attach_bpf_fd=program, attach_type=kind
        )
        attached = syscall.try_bpf(syscall.Cmd.PROG_ATTACH, record)
    # It is 0 then, which is no descriptor.
    return Outcome(Answer.YES) if attached == 0 else judge(attached, _NETWORK)


def _kprobe_multi(kind: AttachKind, program: int) -> Outcome:
    """A function that does not exist is ESRCH, or ENOENT."""
    name = bytearray(b"bw_no_such_function\0")
    place = bytearray(struct.pack("=Q", syscall.address(name)))
    record = attr.KPROBE_MULTI_LINK.pack(
        prog_fd=program, attach_type=kind, cnt=1, syms=syscall.address(place)
    )
    result = syscall.try_bpf(syscall.Cmd.LINK_CREATE, record)
    return judge(result, _TRACING, (errno.ESRCH, errno.ENOENT))


def _uprobe_multi(kind: AttachKind, program: int) -> Outcome:
    """A directory is no file to probe: EBADF."""
    path, offsets = bytearray(b"/\0"), bytearray(8)
    record = attr.UPROBE_MULTI_LINK.pack(
        prog_fd=program,
        attach_type=kind,
        path=syscall.address(path),
        offsets=syscall.address(offsets),
        cnt=1,
    )
    result = syscall.try_bpf(syscall.Cmd.LINK_CREATE, record)
    return judge(result, _TRACING, (errno.EBADF,))


def _with_map(kind: AttachKind) -> Outcome:
    """A map whose entries have room for a program shows that they may have one."""
    target = MapKind.DEVMAP if kind is AttachKind.XDP_DEVMAP else MapKind.CPUMAP
    return judge(maps.create(target, value_size=8), _NETWORK)


def _struct_ops(_kind: AttachKind) -> Outcome:
    return Outcome(*maps.map_flag(MapFlag.LINK)[2:4])


def _of_program(kind: AttachKind) -> Outcome:
    """LIRC_MODE2: the type of program is built in together with where it is attached."""
    program, _ = versions.ATTACH_KINDS[kind]
    return judge(try_program(TRIVIAL, program), privilege.program_needs(program))


_WAYS: dict[AttachKind, Callable[[AttachKind], Outcome]] = {
    AttachKind.XDP_DEVMAP: _with_map,
    AttachKind.XDP_CPUMAP: _with_map,
    AttachKind.STRUCT_OPS: _struct_ops,
    AttachKind.LIRC_MODE2: _of_program,
}
_LINKS: dict[AttachKind, Callable[[AttachKind, int], Outcome]] = {
    **{kind: _by_descriptor for kind in AttachKind if kind.name.startswith("CGROUP_")},
    AttachKind.FLOW_DISSECTOR: _by_descriptor,
    AttachKind.SK_LOOKUP: _by_descriptor,
    AttachKind.PERF_EVENT: _by_descriptor,
    AttachKind.TCX_INGRESS: _by_interface,
    AttachKind.TCX_EGRESS: _by_interface,
    AttachKind.NETKIT_PRIMARY: _by_interface,
    AttachKind.NETKIT_PEER: _by_interface,
    AttachKind.TRACE_ITER: _iterator,
    AttachKind.TRACE_FENTRY: _in_earnest,
    AttachKind.TRACE_FEXIT: _in_earnest,
    AttachKind.TRACE_FSESSION: _in_earnest,
    AttachKind.MODIFY_RETURN: _in_earnest,
    AttachKind.LSM_MAC: _lsm,
    AttachKind.LSM_CGROUP: _lsm_cgroup,
    AttachKind.SK_SKB_STREAM_PARSER: _sockmap,
    AttachKind.SK_SKB_STREAM_VERDICT: _sockmap,
    AttachKind.SK_SKB_VERDICT: _sockmap,
    AttachKind.SK_MSG_VERDICT: _sockmap,
    AttachKind.TRACE_KPROBE_MULTI: _kprobe_multi,
    AttachKind.TRACE_KPROBE_SESSION: _kprobe_multi,
    AttachKind.TRACE_UPROBE_MULTI: _uprobe_multi,
    AttachKind.TRACE_UPROBE_SESSION: _uprobe_multi,
}
