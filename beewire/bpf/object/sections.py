"""libbpf's names of sections: which hook a program in `tracepoint/sched/...` is for."""

from typing import NamedTuple

from beewire.bpf.object.kinds import AttachKind as Attach
from beewire.bpf.object.kinds import ProgramKind as Kind
from beewire.errors import SpecError

SLEEPABLE = 1 << 4  # BPF_F_SLEEPABLE
XDP_FRAGS = 1 << 5  # BPF_F_XDP_HAS_FRAGS

# Functions here are called by programs, and no program by themselves.
SUBPROGRAMS = ".text"


class Hook(NamedTuple):
    """What a section's name says about the programs in it."""

    kind: Kind
    attach_kind: Attach | None = None
    attach_to: str = ""
    flags: int = 0


# section_defs of libbpf 1.5, each family with the name first that we write ourselves. A
# name that ends with "+" stands alone or before "/target"; the others are exact.
_TABLE: tuple[tuple[str, Kind, Attach | None, int], ...] = (
    (SUBPROGRAMS, Kind.UNSPEC, None, 0),
    ("socket", Kind.SOCKET_FILTER, None, 0),
    ("sk_reuseport", Kind.SK_REUSEPORT, Attach.SK_REUSEPORT_SELECT, 0),
    (
        "sk_reuseport/migrate",
        Kind.SK_REUSEPORT,
        Attach.SK_REUSEPORT_SELECT_OR_MIGRATE,
        0,
    ),
    ("kprobe+", Kind.KPROBE, None, 0),
    ("kretprobe+", Kind.KPROBE, None, 0),
    ("uprobe+", Kind.KPROBE, None, 0),
    ("uprobe.s+", Kind.KPROBE, None, SLEEPABLE),
    ("uretprobe+", Kind.KPROBE, None, 0),
    ("uretprobe.s+", Kind.KPROBE, None, SLEEPABLE),
    ("kprobe.multi+", Kind.KPROBE, Attach.TRACE_KPROBE_MULTI, 0),
    ("kretprobe.multi+", Kind.KPROBE, Attach.TRACE_KPROBE_MULTI, 0),
    ("kprobe.session+", Kind.KPROBE, Attach.TRACE_KPROBE_SESSION, 0),
    ("uprobe.multi+", Kind.KPROBE, Attach.TRACE_UPROBE_MULTI, 0),
    ("uretprobe.multi+", Kind.KPROBE, Attach.TRACE_UPROBE_MULTI, 0),
    ("uprobe.session+", Kind.KPROBE, Attach.TRACE_UPROBE_SESSION, 0),
    ("uprobe.multi.s+", Kind.KPROBE, Attach.TRACE_UPROBE_MULTI, SLEEPABLE),
    ("uretprobe.multi.s+", Kind.KPROBE, Attach.TRACE_UPROBE_MULTI, SLEEPABLE),
    ("uprobe.session.s+", Kind.KPROBE, Attach.TRACE_UPROBE_SESSION, SLEEPABLE),
    ("ksyscall+", Kind.KPROBE, None, 0),
    ("kretsyscall+", Kind.KPROBE, None, 0),
    ("usdt+", Kind.KPROBE, None, 0),
    ("usdt.s+", Kind.KPROBE, None, SLEEPABLE),
    ("tc", Kind.SCHED_CLS, None, 0),
    ("classifier", Kind.SCHED_CLS, None, 0),
    ("tcx/ingress", Kind.SCHED_CLS, Attach.TCX_INGRESS, 0),
    ("tcx/egress", Kind.SCHED_CLS, Attach.TCX_EGRESS, 0),
    ("tc/ingress", Kind.SCHED_CLS, Attach.TCX_INGRESS, 0),
    ("tc/egress", Kind.SCHED_CLS, Attach.TCX_EGRESS, 0),
    ("netkit/primary", Kind.SCHED_CLS, Attach.NETKIT_PRIMARY, 0),
    ("netkit/peer", Kind.SCHED_CLS, Attach.NETKIT_PEER, 0),
    ("action", Kind.SCHED_ACT, None, 0),
    ("tracepoint+", Kind.TRACEPOINT, None, 0),
    ("tp+", Kind.TRACEPOINT, None, 0),
    ("raw_tracepoint+", Kind.RAW_TRACEPOINT, None, 0),
    ("raw_tp+", Kind.RAW_TRACEPOINT, None, 0),
    ("raw_tracepoint.w+", Kind.RAW_TRACEPOINT_WRITABLE, None, 0),
    ("raw_tp.w+", Kind.RAW_TRACEPOINT_WRITABLE, None, 0),
    ("tp_btf+", Kind.TRACING, Attach.TRACE_RAW_TP, 0),
    ("fentry+", Kind.TRACING, Attach.TRACE_FENTRY, 0),
    ("fentry.s+", Kind.TRACING, Attach.TRACE_FENTRY, SLEEPABLE),
    ("fexit+", Kind.TRACING, Attach.TRACE_FEXIT, 0),
    ("fexit.s+", Kind.TRACING, Attach.TRACE_FEXIT, SLEEPABLE),
    ("fmod_ret+", Kind.TRACING, Attach.MODIFY_RETURN, 0),
    ("fmod_ret.s+", Kind.TRACING, Attach.MODIFY_RETURN, SLEEPABLE),
    ("iter+", Kind.TRACING, Attach.TRACE_ITER, 0),
    ("iter.s+", Kind.TRACING, Attach.TRACE_ITER, SLEEPABLE),
    ("freplace+", Kind.EXT, None, 0),
    ("lsm+", Kind.LSM, Attach.LSM_MAC, 0),
    ("lsm.s+", Kind.LSM, Attach.LSM_MAC, SLEEPABLE),
    ("lsm_cgroup+", Kind.LSM, Attach.LSM_CGROUP, 0),
    ("syscall", Kind.SYSCALL, None, SLEEPABLE),
    ("xdp", Kind.XDP, Attach.XDP, 0),
    ("xdp.frags", Kind.XDP, Attach.XDP, XDP_FRAGS),
    ("xdp/devmap", Kind.XDP, Attach.XDP_DEVMAP, 0),
    ("xdp.frags/devmap", Kind.XDP, Attach.XDP_DEVMAP, XDP_FRAGS),
    ("xdp/cpumap", Kind.XDP, Attach.XDP_CPUMAP, 0),
    ("xdp.frags/cpumap", Kind.XDP, Attach.XDP_CPUMAP, XDP_FRAGS),
    ("perf_event", Kind.PERF_EVENT, None, 0),
    ("lwt_in", Kind.LWT_IN, None, 0),
    ("lwt_out", Kind.LWT_OUT, None, 0),
    ("lwt_xmit", Kind.LWT_XMIT, None, 0),
    ("lwt_seg6local", Kind.LWT_SEG6LOCAL, None, 0),
    ("sockops", Kind.SOCK_OPS, Attach.CGROUP_SOCK_OPS, 0),
    ("sk_skb/stream_parser", Kind.SK_SKB, Attach.SK_SKB_STREAM_PARSER, 0),
    ("sk_skb/stream_verdict", Kind.SK_SKB, Attach.SK_SKB_STREAM_VERDICT, 0),
    ("sk_skb/verdict", Kind.SK_SKB, Attach.SK_SKB_VERDICT, 0),
    ("sk_skb", Kind.SK_SKB, None, 0),
    ("sk_msg", Kind.SK_MSG, Attach.SK_MSG_VERDICT, 0),
    ("lirc_mode2", Kind.LIRC_MODE2, Attach.LIRC_MODE2, 0),
    ("flow_dissector", Kind.FLOW_DISSECTOR, Attach.FLOW_DISSECTOR, 0),
    ("cgroup_skb/ingress", Kind.CGROUP_SKB, Attach.CGROUP_INET_INGRESS, 0),
    ("cgroup_skb/egress", Kind.CGROUP_SKB, Attach.CGROUP_INET_EGRESS, 0),
    ("cgroup/skb", Kind.CGROUP_SKB, None, 0),
    ("cgroup/sock_create", Kind.CGROUP_SOCK, Attach.CGROUP_INET_SOCK_CREATE, 0),
    ("cgroup/sock_release", Kind.CGROUP_SOCK, Attach.CGROUP_INET_SOCK_RELEASE, 0),
    ("cgroup/sock", Kind.CGROUP_SOCK, Attach.CGROUP_INET_SOCK_CREATE, 0),
    ("cgroup/post_bind4", Kind.CGROUP_SOCK, Attach.CGROUP_INET4_POST_BIND, 0),
    ("cgroup/post_bind6", Kind.CGROUP_SOCK, Attach.CGROUP_INET6_POST_BIND, 0),
    ("cgroup/bind4", Kind.CGROUP_SOCK_ADDR, Attach.CGROUP_INET4_BIND, 0),
    ("cgroup/bind6", Kind.CGROUP_SOCK_ADDR, Attach.CGROUP_INET6_BIND, 0),
    ("cgroup/connect4", Kind.CGROUP_SOCK_ADDR, Attach.CGROUP_INET4_CONNECT, 0),
    ("cgroup/connect6", Kind.CGROUP_SOCK_ADDR, Attach.CGROUP_INET6_CONNECT, 0),
    ("cgroup/connect_unix", Kind.CGROUP_SOCK_ADDR, Attach.CGROUP_UNIX_CONNECT, 0),
    ("cgroup/sendmsg4", Kind.CGROUP_SOCK_ADDR, Attach.CGROUP_UDP4_SENDMSG, 0),
    ("cgroup/sendmsg6", Kind.CGROUP_SOCK_ADDR, Attach.CGROUP_UDP6_SENDMSG, 0),
    ("cgroup/sendmsg_unix", Kind.CGROUP_SOCK_ADDR, Attach.CGROUP_UNIX_SENDMSG, 0),
    ("cgroup/recvmsg4", Kind.CGROUP_SOCK_ADDR, Attach.CGROUP_UDP4_RECVMSG, 0),
    ("cgroup/recvmsg6", Kind.CGROUP_SOCK_ADDR, Attach.CGROUP_UDP6_RECVMSG, 0),
    ("cgroup/recvmsg_unix", Kind.CGROUP_SOCK_ADDR, Attach.CGROUP_UNIX_RECVMSG, 0),
    ("cgroup/getpeername4", Kind.CGROUP_SOCK_ADDR, Attach.CGROUP_INET4_GETPEERNAME, 0),
    ("cgroup/getpeername6", Kind.CGROUP_SOCK_ADDR, Attach.CGROUP_INET6_GETPEERNAME, 0),
    (
        "cgroup/getpeername_unix",
        Kind.CGROUP_SOCK_ADDR,
        Attach.CGROUP_UNIX_GETPEERNAME,
        0,
    ),
    ("cgroup/getsockname4", Kind.CGROUP_SOCK_ADDR, Attach.CGROUP_INET4_GETSOCKNAME, 0),
    ("cgroup/getsockname6", Kind.CGROUP_SOCK_ADDR, Attach.CGROUP_INET6_GETSOCKNAME, 0),
    (
        "cgroup/getsockname_unix",
        Kind.CGROUP_SOCK_ADDR,
        Attach.CGROUP_UNIX_GETSOCKNAME,
        0,
    ),
    ("cgroup/sysctl", Kind.CGROUP_SYSCTL, Attach.CGROUP_SYSCTL, 0),
    ("cgroup/getsockopt", Kind.CGROUP_SOCKOPT, Attach.CGROUP_GETSOCKOPT, 0),
    ("cgroup/setsockopt", Kind.CGROUP_SOCKOPT, Attach.CGROUP_SETSOCKOPT, 0),
    ("cgroup/dev", Kind.CGROUP_DEVICE, Attach.CGROUP_DEVICE, 0),
    ("struct_ops+", Kind.STRUCT_OPS, None, 0),
    ("struct_ops.s+", Kind.STRUCT_OPS, None, SLEEPABLE),
    ("sk_lookup", Kind.SK_LOOKUP, Attach.SK_LOOKUP, 0),
    ("netfilter", Kind.NETFILTER, Attach.NETFILTER, 0),
)


def parse_section(name: str) -> Hook:
    """Return the hook that libbpf takes this section for.

    Raises:
        SpecError: libbpf knows no such section.
    """
    prefix, _, target = name.partition("/")
    for pattern, kind, attach_kind, flags in _TABLE:
        if pattern == name:
            return Hook(kind, attach_kind, "", flags)
        if pattern[-1] == "+" and pattern[:-1] == prefix:
            return Hook(kind, attach_kind, target, flags)
    raise SpecError(f"libbpf knows no section {name!r}")


def section_name(
    kind: Kind,
    attach_kind: Attach | None = None,
    attach_to: str = "",
    flags: int = 0,
) -> str:
    """Return the section that stands for a hook: the inverse of `parse_section`.

    Of a kprobe and its like it is the entry's name; write "kretprobe/..." yourself.

    Raises:
        SpecError: libbpf has no section for this hook.
    """
    for pattern, *hook in _TABLE:
        takes_target = pattern[-1] == "+"
        if hook == [kind, attach_kind, flags] and (takes_target or not attach_to):
            prefix = pattern.removesuffix("+")
            return f"{prefix}/{attach_to}" if attach_to else prefix
    hook_name = kind.name if attach_kind is None else f"{kind.name}/{attach_kind.name}"
    message = f"libbpf has no section for {hook_name} on {attach_to or 'no target'!r}"
    raise SpecError(f"{message} with flags {flags:#x}")
