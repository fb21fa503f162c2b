"""Types of programs: the smallest program of each is loaded and closed."""

import errno
from typing import NamedTuple

from beewire.bpf import isa
from beewire.bpf.btf import Kind, Struct
from beewire.bpf.kernel import privilege, syscall, versions
from beewire.bpf.kernel.features.feature import Feature, Outcome, ask, judge, no, yes
from beewire.bpf.kernel.features.listed import absent, missing_type, type_id, types
from beewire.bpf.kernel.probed import try_program
from beewire.bpf.object import AttachKind, ProgramKind

TRIVIAL = (isa.mov_imm(0, 0), isa.exit_insn())
SLEEPABLE = 1 << 4  # BPF_F_SLEEPABLE
_LOG_SIZE = 1 << 12


class Shape(NamedTuple):
    """One way to load a type of program: the fields of BPF_PROG_LOAD that it takes.

    `missing` is what the kernel would have to have for it, where it does not.
    """

    fields: dict[str, int]
    missing: str = ""


# Types that load only with an attach kind, and what is hooked by BTF id by them.
_ATTACHED = {
    ProgramKind.CGROUP_SOCK_ADDR: (AttachKind.CGROUP_INET4_CONNECT,),
    ProgramKind.CGROUP_SKB: (
        AttachKind.CGROUP_INET_INGRESS,
        AttachKind.CGROUP_INET_EGRESS,
    ),
    ProgramKind.CGROUP_SOCK: (
        AttachKind.CGROUP_INET_SOCK_CREATE,
        AttachKind.CGROUP_INET4_POST_BIND,
    ),
    ProgramKind.CGROUP_SOCKOPT: (
        AttachKind.CGROUP_GETSOCKOPT,
        AttachKind.CGROUP_SETSOCKOPT,
    ),
    ProgramKind.SK_LOOKUP: (AttachKind.SK_LOOKUP,),
    ProgramKind.NETFILTER: (AttachKind.NETFILTER,),
}
_SOCK_ADDR = (
    *(AttachKind.CGROUP_INET4_CONNECT, AttachKind.CGROUP_INET4_BIND),
    *(AttachKind.CGROUP_UDP4_SENDMSG, AttachKind.CGROUP_INET4_GETPEERNAME),
)
_TRACING = (
    (AttachKind.TRACE_RAW_TP, "btf_trace_sched_switch", Kind.TYPEDEF, 0),
    (AttachKind.TRACE_FENTRY, "bpf_fentry_test1", Kind.FUNC, 0),
    (AttachKind.TRACE_FEXIT, "bpf_fentry_test1", Kind.FUNC, 0),
    (AttachKind.TRACE_ITER, "bpf_iter_task", Kind.FUNC, SLEEPABLE),
    (AttachKind.TRACE_ITER, "bpf_iter_tcp", Kind.FUNC, 0),
    (AttachKind.TRACE_FENTRY, "security_file_permission", Kind.FUNC, SLEEPABLE),
    (AttachKind.TRACE_FENTRY, "vfs_truncate", Kind.FUNC, 0),
)
_LSM = (
    (AttachKind.LSM_MAC, "bpf_lsm_file_open", Kind.FUNC, 0),
    (AttachKind.LSM_MAC, "bpf_lsm_file_open", Kind.FUNC, SLEEPABLE),
    (AttachKind.LSM_MAC, "bpf_lsm_bprm_committed_creds", Kind.FUNC, SLEEPABLE),
    (AttachKind.LSM_CGROUP, "bpf_lsm_socket_post_create", Kind.FUNC, 0),
    (AttachKind.LSM_CGROUP, "bpf_lsm_sk_alloc_security", Kind.FUNC, 0),
)
# Where BTF id 1, the first integer, is no function: the kernel names its objection.
_NOTHING_TO_EXTEND = "Cannot replace kernel functions"


def program_type(kind: ProgramKind) -> Feature:
    """Whether programs of this kind load."""
    since = versions.PROGRAM_TYPES.get(kind, "")
    return ask("program type", kind.name, since, lambda: _try(kind))


def _try(kind: ProgramKind) -> Outcome:
    if (gone := absent("bpf_prog_type", f"BPF_PROG_TYPE_{kind.name}")) is not None:
        return gone
    if kind is ProgramKind.EXT:
        return _try_extension()
    shape = next(iter(shapes(kind)))
    if shape.missing:
        return no(shape.missing)
    result = try_program(TRIVIAL, kind, **shape.fields)
    return judge(result, privilege.program_needs(kind))


def _try_extension() -> Outcome:
    """A program that extends nothing is refused for that, where there are extensions."""
    log = bytearray(_LOG_SIZE)
    result = try_program(
        TRIVIAL,
        ProgramKind.EXT,
        attach_btf_id=1,
        log_level=1,
        log_size=len(log),
        log_buf=syscall.address(log),
    )
    if result == -errno.EINVAL and _NOTHING_TO_EXTEND.encode() in log:
        return yes()
    return judge(result, privilege.program_needs(ProgramKind.EXT))


def shapes(kind: ProgramKind) -> list[Shape]:
    """The ways to load programs of this kind that matter, the plainest first.

    Which helpers there are differs between them.
    """
    if kind is ProgramKind.STRUCT_OPS:
        return [_struct_ops(member) for member in ("ssthresh", "cwnd_event", "init")]
    if kind in (ProgramKind.TRACING, ProgramKind.LSM):
        hooks = _TRACING if kind is ProgramKind.TRACING else _LSM
        return [_hooked(*hook) for hook in hooks]
    if kind is ProgramKind.SYSCALL:
        return [Shape({"prog_flags": SLEEPABLE})]
    if kind is ProgramKind.CGROUP_SOCK_ADDR:
        return [Shape({"expected_attach_type": each}) for each in _SOCK_ADDR]
    if kind in _ATTACHED:
        return [Shape({"expected_attach_type": each}) for each in _ATTACHED[kind]]
    if kind is ProgramKind.KPROBE:
        return [Shape({}), Shape({"prog_flags": SLEEPABLE})]
    return [Shape({})]


def _hooked(attach: AttachKind, name: str, kind: Kind, flags: int) -> Shape:
    number = type_id(name, kind)
    fields = {
        "expected_attach_type": int(attach),
        "attach_btf_id": number or 0,
        "prog_flags": flags,
    }
    return Shape(fields, "" if number else missing_type(name))


def _struct_ops(member: str) -> Shape:
    """A member of tcp_congestion_ops, which is in every kernel with struct_ops."""
    name = "tcp_congestion_ops"
    index, number = types(), type_id(name, Kind.STRUCT)
    table = index.lookup(name, Struct) if index else None
    if table is None or number is None:
        return Shape({}, missing_type(name))
    names = [each.name for each in table.members]
    fields = {"attach_btf_id": number, "expected_attach_type": names.index(member)}
    return Shape(fields)
