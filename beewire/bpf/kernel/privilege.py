"""What this process may do, and why not: capabilities, memlock, lockdown.

Imported only when the kernel said EPERM, and by the probes.
"""

import os
import re
import resource

from beewire.bpf.object import MapKind, ProgramKind

# Bit numbers of uapi/linux/capability.h.
CAPABILITIES = {
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}


# The strictest kernel.perf_event_paranoid of mainline kernels.
_MAINLINE = 2

_NETWORK = ("CAP_NET_ADMIN",)
_TRACING = ("CAP_PERFMON",)
# is_net_admin_prog_type() and is_perfmon_prog_type() of kernel/bpf/syscall.c. What is
# not here needs CAP_BPF alone.
_NEEDS = {
    ProgramKind.SCHED_CLS: _NETWORK,
    ProgramKind.SCHED_ACT: _NETWORK,
    ProgramKind.XDP: _NETWORK,
    ProgramKind.LWT_IN: _NETWORK,
    ProgramKind.LWT_OUT: _NETWORK,
    ProgramKind.LWT_XMIT: _NETWORK,
    ProgramKind.LWT_SEG6LOCAL: _NETWORK,
    ProgramKind.SK_SKB: _NETWORK,
    ProgramKind.SK_MSG: _NETWORK,
    ProgramKind.FLOW_DISSECTOR: _NETWORK,
    ProgramKind.CGROUP_DEVICE: _NETWORK,
    ProgramKind.CGROUP_SOCK: _NETWORK,
    ProgramKind.CGROUP_SOCK_ADDR: _NETWORK,
    ProgramKind.CGROUP_SOCKOPT: _NETWORK,
    ProgramKind.CGROUP_SYSCTL: _NETWORK,
    ProgramKind.SOCK_OPS: _NETWORK,
    ProgramKind.NETFILTER: _NETWORK,
    ProgramKind.EXT: _NETWORK + _TRACING,
    ProgramKind.KPROBE: _TRACING,
    ProgramKind.TRACEPOINT: _TRACING,
    ProgramKind.PERF_EVENT: _TRACING,
    ProgramKind.RAW_TRACEPOINT: _TRACING,
    ProgramKind.RAW_TRACEPOINT_WRITABLE: _TRACING,
    ProgramKind.TRACING: _TRACING,
    ProgramKind.LSM: _TRACING,
    ProgramKind.STRUCT_OPS: _TRACING,
}


def program_needs(kind: ProgramKind) -> tuple[str, ...]:
    """The capabilities beside CAP_BPF that loading this kind of program takes."""
    return _NEEDS.get(kind, ())


_NETWORK_MAPS = (
    *(MapKind.DEVMAP, MapKind.DEVMAP_HASH, MapKind.XSKMAP),
    *(MapKind.SOCKMAP, MapKind.SOCKHASH),
)


def map_needs(kind: MapKind) -> tuple[str, ...]:
    """The capabilities beside CAP_BPF that creating a map of this kind takes."""
    return _NETWORK if kind in _NETWORK_MAPS else ()


# Commands that the kernel refuses to those without CAP_BPF; others ask for the descriptor
# that they are given, and for what the thing itself takes.
_MAKING = ("MAP_CREATE", "PROG_LOAD", "BTF_LOAD")


def needed(command: str, need: tuple[str, ...]) -> tuple[str, ...]:
    """What a command that was refused takes; `need` is what its object takes.

    Before Linux 6.4, and where kernel.unprivileged_bpf_disabled is set, all of them take
    CAP_BPF as well: it is named where nothing else is missing.
    """
    exact = command not in _MAKING and missing(need)
    return need if exact else ("CAP_BPF", *need)


# What the verifier says to those without CAP_PERFMON, and what it would allow them.
_UNTRUSTED = re.compile(r"pointer .*prohibited|leaks addr|pointer comparison|for !root")
_NO_HELPER = re.compile(r"cannot use helper|unknown func|helper call is not allowed")


def why_refused(reason: str) -> str:
    """What a refusal of the verifier has to do with a lack of CAP_PERFMON, or ""."""
    if not missing(("CAP_PERFMON",)):
        return ""
    if _UNTRUSTED.search(reason):
        return (
            "this process lacks CAP_PERFMON, without which programs may not compute "
            "with pointers as with numbers; run it as root or give it the capability"
        )
    if _NO_HELPER.search(reason):
        return (
            "this process lacks CAP_PERFMON, which helpers that read kernel memory or "
            "print take in programs of every type"
        )
    return ""


def read_text(path: str) -> str:
    """The stripped content of a small file, or "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - no pathlib here
            return file.read().strip()
    except OSError:
        return ""


def _status(field: str) -> str:
    for line in read_text("/proc/self/status").split("\n"):
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    return ""


def has_capability(name: str) -> bool:
    """Whether `name` is in the effective set of this process."""
    return bool(int(effective() or "0", 16) >> CAPABILITIES[name] & 1)


def effective() -> str:
    """The effective capabilities of this process, as /proc shows them."""
    return _status("CapEff")


def filtered() -> bool:
    """Whether a seccomp filter decides which system calls this process may make."""
    return _status("Seccomp") not in {"", "0"}


def missing(need: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `need` that the process lacks.

    CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON, as it does in the kernel.
    """
    # Where it is asked for itself, it is enough, too.
    if has_capability("CAP_SYS_ADMIN") or "CAP_SYS_ADMIN" in need:
        need = tuple(name for name in need if name not in {"CAP_BPF", "CAP_PERFMON"})
    return tuple(name for name in need if not has_capability(name))


def lockdown() -> str:
    """The lockdown mode in force: "none", "integrity" or "confidentiality"."""
    text = read_text("/sys/kernel/security/lockdown")
    return text[text.index("[") + 1 : text.index("]")] if "[" in text else "none"


def in_user_namespace() -> bool:
    """Whether capabilities count only inside a user namespace, where bpf(2) fails."""
    words = read_text("/proc/self/uid_map").split()
    return words not in ([], ["0", "0", "4294967295"])


def why_forbidden(need: tuple[str, ...]) -> str:
    """The reason for EPERM, and what would cure it, as the end of a sentence."""
    lacking = missing(need)
    if lacking:
        names = " and ".join(lacking)
        plural = "capabilities" if len(lacking) > 1 else "capability"
        return f"this process lacks {names}; run it as root or give it the {plural}"
    if in_user_namespace():
        if told := _delegated():
            return f"the BPF token does not cover it: {told}"
        return (
            "its capabilities count only inside its user namespace; run it in the "
            "initial one, or pass in a BPF token: a BPF file system that delegates what "
            "it needs, at /sys/fs/bpf or where LIBBPF_BPF_TOKEN_PATH says (Linux 6.9)"
        )
    if (mode := lockdown()) != "none":
        return f"kernel lockdown is in {mode} mode, which forbids it even to root"
    if filtered():
        return (
            "the capabilities are there but a seccomp filter is active; allow bpf(2) "
            "and perf_event_open(2) in the container's seccomp profile"
        )
    paranoid = read_text("/proc/sys/kernel/perf_event_paranoid")
    if "CAP_PERFMON" in need and paranoid.isdecimal() and int(paranoid) > _MAINLINE:
        return (
            f"kernel.perf_event_paranoid is {paranoid}, with which distributions' kernels "
            "ask for CAP_SYS_ADMIN in the place of CAP_PERFMON; "
            f"`sysctl kernel.perf_event_paranoid={_MAINLINE}`"
        )
    return "the kernel forbids it although the capabilities are there" + _memlock_hint()


def _delegated() -> str:
    """What the BPF file system that tokens are made of delegates, or ""."""
    place = os.environ.get("LIBBPF_BPF_TOKEN_PATH", "/sys/fs/bpf")
    for line in reversed(read_text("/proc/self/mounts").split("\n")):
        words = line.split(" ")
        if words[1:3] == [place, "bpf"]:
            options = [each for each in words[3].split(",") if "delegate_" in each]
            return f"{place} has {', '.join(options)}" if options else ""
    return ""


def _memlock_hint() -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    # The version only chooses the words; what can be done is found by doing it.
    numbers = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    if soft == resource.RLIM_INFINITY or numbers >= (5, 11):
        return ""
    return (
        f" (before Linux 5.11 maps count against RLIMIT_MEMLOCK, here {soft} bytes; "
        "raise it with `ulimit -l unlimited`)"
    )


def raise_memlock() -> bool:
    """Lift RLIMIT_MEMLOCK, which limits maps and programs before Linux 5.11.

    Returns whether it was raised, so that a second try makes sense. Later kernels charge
    the memory cgroup instead and never get here for that reason.
    """
    limit = resource.RLIMIT_MEMLOCK
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    if resource.getrlimit(limit) == unlimited or os.geteuid() != 0:
        return False
    try:
        resource.setrlimit(limit, unlimited)
    except (ValueError, OSError):
        return False
    return True
