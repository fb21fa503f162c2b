"""Which helpers each kind of program may call, asked of the running kernel.

    sudo python scripts/probe_helpers.py > data/helper_programs.txt

Every helper is called once in a program of every kind, as `bpftool feature` does; what
the verifier answers to the call tells the two apart. Nothing is attached. Kinds that
hook by BTF id are tried on several hooks: what one of them may call counts.
"""

import os
import platform
import sys
from collections.abc import Iterator

from beewire.bpf import isa
from beewire.bpf.btf import Kind, Struct
from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.btf_cache import kernel_index
from beewire.bpf.object import AttachKind, ProgramKind

COUNT = 211
SLEEPABLE = 1 << 4
P, A = ProgramKind, AttachKind

PLAIN = (
    *("SOCKET_FILTER", "KPROBE", "SCHED_CLS", "SCHED_ACT", "TRACEPOINT", "PERF_EVENT"),
    *("LWT_IN", "LWT_OUT", "LWT_XMIT", "LWT_SEG6LOCAL", "SOCK_OPS"),
    *("CGROUP_DEVICE", "SK_MSG", "RAW_TRACEPOINT", "RAW_TRACEPOINT_WRITABLE"),
    *("LIRC_MODE2", "SK_REUSEPORT", "FLOW_DISSECTOR", "CGROUP_SYSCTL", "XDP"),
)
ATTACHED = {
    P.CGROUP_SKB: (A.CGROUP_INET_INGRESS, A.CGROUP_INET_EGRESS),
    P.CGROUP_SOCK: (
        *(A.CGROUP_INET_SOCK_CREATE, A.CGROUP_INET_SOCK_RELEASE),
        *(A.CGROUP_INET4_POST_BIND, A.CGROUP_INET6_POST_BIND),
    ),
    P.SK_SKB: (A.SK_SKB_STREAM_PARSER, A.SK_SKB_STREAM_VERDICT, A.SK_SKB_VERDICT),
    P.CGROUP_SOCK_ADDR: tuple(
        A[name]
        for name in [
            "CGROUP_INET4_BIND",
            "CGROUP_INET6_BIND",
            "CGROUP_INET4_CONNECT",
            "CGROUP_INET6_CONNECT",
            "CGROUP_UDP4_SENDMSG",
            "CGROUP_UDP6_SENDMSG",
            "CGROUP_UDP4_RECVMSG",
            "CGROUP_UDP6_RECVMSG",
            "CGROUP_INET4_GETPEERNAME",
            "CGROUP_INET6_GETPEERNAME",
            "CGROUP_INET4_GETSOCKNAME",
            "CGROUP_INET6_GETSOCKNAME",
            "CGROUP_UNIX_CONNECT",
            "CGROUP_UNIX_SENDMSG",
            "CGROUP_UNIX_RECVMSG",
            "CGROUP_UNIX_GETPEERNAME",
            "CGROUP_UNIX_GETSOCKNAME",
        ]
    ),
    P.CGROUP_SOCKOPT: (A.CGROUP_GETSOCKOPT, A.CGROUP_SETSOCKOPT),
    P.SK_LOOKUP: (A.SK_LOOKUP,),
    P.NETFILTER: (A.NETFILTER,),
}
FUNCTIONS = ("vfs_truncate", "security_file_permission", "tcp_connect", "vfs_open")
SLEEPING = ("security_file_permission", "security_file_open", "security_inode_getattr")
ITERATORS = ("task", "tcp", "udp", "sockmap", "bpf_map_elem", "cgroup", "task_vma")
LSM_HOOKS = (
    *("file_open", "bprm_check_security", "bprm_committed_creds", "socket_bind"),
    *("socket_post_create", "socket_connect", "sk_alloc_security", "inode_getattr"),
    *("inet_csk_clone", "inode_permission"),
)
REFUSED = (
    *("unknown func", "invalid func", "cannot use helper", "not allowed in probe"),
    "might sleep",
)


def main() -> int:
    """Print the table."""
    print(f"# Linux {platform.release()} ({platform.machine()})")
    print(
        "# kind of program, attach kind, s = sleepable, helpers as a mask (bit = number)"
    )
    for name in PLAIN:
        row(name, "-", "-", mask(int(P[name])))
    row("KPROBE", "-", "s", mask(P.KPROBE, prog_flags=SLEEPABLE))
    row("SYSCALL", "-", "s", mask(P.SYSCALL, prog_flags=SLEEPABLE))
    for kind, attach_kinds in ATTACHED.items():
        for each in attach_kinds:
            row(kind.name, each.name, "-", mask(kind, expected_attach_type=each))
    for kind, attach, flag, hooks in traced():
        flags = SLEEPABLE if flag == "s" else 0
        total = 0
        for hook in hooks:
            total |= mask(
                kind, expected_attach_type=attach, attach_btf_id=hook, prog_flags=flags
            )
        row(kind.name, attach.name, flag, total)
    for flag in ("-", "s"):
        row("STRUCT_OPS", "-", flag, struct_ops(flag))
    return 0


def row(kind: str, attach: str, flag: str, found: int) -> None:
    """Print one line; nothing for what this kernel does not have."""
    if found:
        print(f"{kind} {attach} {flag} {found:x}", flush=True)


def traced() -> Iterator[tuple[ProgramKind, AttachKind, str, list[int]]]:
    """The kinds that hook by BTF id, with hooks to try."""
    index = kernel_index()

    def ids(prefix: str, kind: Kind, names: tuple[str, ...]) -> list[int]:
        found = (index.find(prefix + name, kind) for name in names)
        return [each for each in found if each is not None]

    points = ids("btf_trace_", Kind.TYPEDEF, ("sched_switch", "sys_enter"))
    yield P.TRACING, A.TRACE_RAW_TP, "-", points
    for attach in (A.TRACE_FENTRY, A.TRACE_FEXIT):
        yield P.TRACING, attach, "-", ids("", Kind.FUNC, FUNCTIONS)
        yield P.TRACING, attach, "s", ids("", Kind.FUNC, SLEEPING)
    yield P.TRACING, A.MODIFY_RETURN, "-", ids("", Kind.FUNC, SLEEPING)
    yield P.TRACING, A.MODIFY_RETURN, "s", ids("", Kind.FUNC, SLEEPING)
    yield P.TRACING, A.TRACE_ITER, "-", ids("bpf_iter_", Kind.FUNC, ITERATORS)
    yield P.TRACING, A.TRACE_ITER, "s", ids("bpf_iter_", Kind.FUNC, ITERATORS)
    yield P.LSM, A.LSM_MAC, "-", ids("bpf_lsm_", Kind.FUNC, LSM_HOOKS)
    yield P.LSM, A.LSM_MAC, "s", ids("bpf_lsm_", Kind.FUNC, LSM_HOOKS)
    yield P.LSM, A.LSM_CGROUP, "-", ids("bpf_lsm_", Kind.FUNC, LSM_HOOKS)


def struct_ops(flag: str) -> int:
    """What the members of tcp_congestion_ops may call."""
    index = kernel_index()
    found = index.lookup("tcp_congestion_ops", Struct)
    type_id = index.find("tcp_congestion_ops", Kind.STRUCT)
    if found is None or type_id is None:
        return 0
    total = 0
    for number in range(len(found.members)):
        total |= mask(
            P.STRUCT_OPS,
            expected_attach_type=number,
            attach_btf_id=type_id,
            prog_flags=SLEEPABLE if flag == "s" else 0,
        )
    return total


def mask(kind: int, **fields: int) -> int:
    """The helpers that a program of this kind may call."""
    if allowed(kind, 5, fields) is None:
        return 0
    return sum(1 << n for n in range(1, COUNT + 1) if allowed(kind, n, fields))


def allowed(kind: int, number: int, fields: dict[str, int]) -> bool | None:
    """Whether the verifier lets the call pass; None when it looks at no program."""
    insns = (isa.call_helper(number), isa.mov_imm(0, 0), isa.exit_insn())
    code, terms, log = (
        bytearray(isa.encode(insns)),
        bytearray(b"GPL\0"),
        bytearray(1 << 16),
    )
    record = attr.PROG_LOAD.pack(
        prog_type=kind,
        insn_cnt=len(insns),
        insns=syscall.address(code),
        license=syscall.address(terms),
        log_level=1,
        log_size=len(log),
        log_buf=syscall.address(log),
        **fields,
    )
    result = syscall.try_bpf(syscall.Cmd.PROG_LOAD, record)
    if result >= 0:
        os.close(result)
        return True
    text = log.split(b"\0")[0].decode(errors="replace")
    if not text:
        return None
    # A hook that does not exist is refused before any instruction is looked at.
    return "call bpf_" in text and not any(word in text for word in REFUSED)


if __name__ == "__main__":
    sys.exit(main())
