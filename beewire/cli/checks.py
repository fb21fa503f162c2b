"""What `beewire doctor` looks at besides the kernel's own probes. Reads, changes nothing.

Every check is one function that answers with a Finding: a fact, and what to change
where the fact is in the way.
"""

import os
import platform
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from beewire.bpf.kernel import privilege
from beewire.bpf.kernel.privilege import read_text
from beewire.mesh.lab import tools


class State(StrEnum):
    """How a finding stands."""

    GOOD = "yes"
    LIMITED = "limited"
    BAD = "no"
    UNKNOWN = "unknown"


class Finding(NamedTuple):
    """One fact about this machine.

    `fix` says what to change and is empty where nothing has to be; `demo` is True if
    `beewire demo` cannot run unless the state is good or limited.
    """

    group: str
    name: str
    state: State
    detail: str
    fix: str = ""
    demo: bool = False


CAPABILITIES = {
    "CAP_BPF": "to load programs and create maps",
    "CAP_PERFMON": "to load tracing programs",
    "CAP_NET_ADMIN": "to attach to cgroups and network namespaces",
    "CAP_SYS_ADMIN": "to make network namespaces, to mount",
}
PURPOSES = {
    "envoy": "it is the sidecar",
    "nginx": "it is the application",
    "wrk": "it makes the load",
    "pyroute2": "it wires the pods",
}


def mounts(kind: str) -> list[str]:
    """Where file systems of `kind` are mounted in this process's mount namespace."""
    fields = (line.split() for line in read_text("/proc/self/mounts").splitlines())
    return [entry[1] for entry in fields if entry[2] == kind]


# --- the machine ---


def python_version() -> Finding:
    """The interpreter that runs this; an older one than 3.11 never gets here."""
    return Finding("machine", "Python", State.GOOD, platform.python_version())


def kernel_release() -> Finding:
    """The running kernel. What it can do is probed, never concluded from its number."""
    detail = f"{platform.release()} on {platform.machine()}"
    return Finding("machine", "Linux", State.GOOD, detail)


# --- what this process may do ---


def capability(name: str) -> Finding:
    """One capability; CAP_SYS_ADMIN includes what Linux 5.8 split off it."""
    purpose = CAPABILITIES[name]
    if not privilege.missing((name,)):
        return Finding("permission", name, State.GOOD, purpose, demo=True)
    detail = f"missing; needed {purpose}"
    fix = "run as root, or give the container this capability"
    return Finding("permission", name, State.BAD, detail, fix, demo=True)


def user_namespace() -> Finding:
    """Capabilities of a user namespace do not reach bpf(2)."""
    if not privilege.in_user_namespace():
        return Finding("permission", "user namespace", State.GOOD, "the initial one")
    return Finding(
        "permission",
        "user namespace",
        State.BAD,
        "not the initial one: its capabilities do not count for bpf(2)",
        "run it outside, or in a container that is not rootless",
        demo=True,
    )


def locked_memory() -> Finding:
    """Kernels before 5.11 charge maps to RLIMIT_MEMLOCK (d5299b67dd59)."""
    import resource  # noqa: PLC0415 - no other command needs it

    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY or not privilege.missing(("CAP_SYS_RESOURCE",)):
        shown = "unlimited" if soft == resource.RLIM_INFINITY else "may be raised"
        return Finding("permission", "locked memory", State.GOOD, shown)
    detail = f"{soft // 1024} KiB; enough where the kernel charges maps to the cgroup"
    return Finding("permission", "locked memory", State.LIMITED, detail)


def lockdown() -> Finding:
    """The kernel's lockdown mode; `confidentiality` forbids programs to read memory."""
    mode = privilege.lockdown()
    if mode != "confidentiality":
        return Finding("permission", "lockdown", State.GOOD, mode)
    return Finding(
        "permission",
        "lockdown",
        State.BAD,
        "confidentiality: programs may not read kernel memory",
        "start the kernel with lockdown=integrity or without lockdown=",
    )


def unprivileged_bpf() -> Finding:
    """Whether users without CAP_BPF may load programs; only information to root."""
    value = read_text("/proc/sys/kernel/unprivileged_bpf_disabled")
    words = {
        "0": "open to every user; setting kernel.unprivileged_bpf_disabled=2 is wise",
        "1": "closed until the next boot, as it should be",
        "2": "closed, as it should be",
    }
    detail = words.get(value, "unknown")
    state = State.LIMITED if value == "0" else State.GOOD
    return Finding("permission", "unprivileged bpf", state, detail)


def seccomp() -> Finding:
    """A container's system call filter often forbids bpf(2)."""
    if "\nSeccomp:\t2" not in read_text("/proc/self/status"):
        return Finding("permission", "seccomp", State.GOOD, "no filter")
    return Finding(
        "permission",
        "seccomp",
        State.LIMITED,
        "this process runs under a system call filter",
        "if bpf(2) is refused, allow it in the container's seccomp profile",
    )


# --- what the kernel offers as files ---


def kernel_btf() -> Finding:
    """The kernel's type information: CO-RE and kernel functions need it."""
    try:
        size = Path("/sys/kernel/btf/vmlinux").stat().st_size
    except OSError:
        return Finding(
            "kernel",
            "BTF",
            State.BAD,
            "no /sys/kernel/btf/vmlinux: programs cannot read kernel structures",
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        )
    return Finding("kernel", "BTF", State.GOOD, f"{size / 1e6:.1f} MB of types")


def jit() -> Finding:
    """The just-in-time compiler; the interpreter is several times slower."""
    value = read_text("/proc/sys/net/core/bpf_jit_enable")
    if value in {"1", "2"}:
        return Finding("kernel", "JIT", State.GOOD, "on")
    return Finding(
        "kernel",
        "JIT",
        State.LIMITED,
        "off: programs are interpreted" if value else "cannot be seen from here",
        "sysctl net.core.bpf_jit_enable=1",
    )


def bpffs() -> Finding:
    """Where pins live."""
    if found := mounts("bpf"):
        return Finding("kernel", "bpffs", State.GOOD, f"mounted at {found[0]}")
    detail = "not mounted: programs and maps cannot be pinned"
    return Finding(
        "kernel", "bpffs", State.LIMITED, detail, "mount -t bpf bpf /sys/fs/bpf"
    )


def tracefs() -> Finding:
    """Where tracepoints have their numbers, and printk its lines."""
    if found := mounts("tracefs"):
        return Finding("kernel", "tracefs", State.GOOD, f"mounted at {found[0]}")
    if not privilege.missing(("CAP_SYS_ADMIN",)):
        detail = "not mounted; Beewire opens it without"
        return Finding("kernel", "tracefs", State.GOOD, detail)
    detail = "not mounted: no tracepoints, no printk"
    fix = "mount -t tracefs tracefs /sys/kernel/tracing"
    return Finding("kernel", "tracefs", State.BAD, detail, fix)


def cgroup2() -> Finding:
    """The unified cgroup hierarchy; the connection hooks attach to it."""
    found = mounts("cgroup2")
    if not found:
        return Finding(
            "kernel",
            "cgroup2",
            State.BAD,
            "not mounted: nothing to attach connection hooks to",
            "boot with systemd.unified_cgroup_hierarchy=1, or mount -t cgroup2"
            " cgroup2 /sys/fs/cgroup/unified",
            demo=True,
        )
    hybrid = " beside version 1 (hybrid)" if mounts("cgroup") else ""
    if not os.access(found[0], os.W_OK):
        return Finding(
            "kernel",
            "cgroup2",
            State.BAD,
            f"mounted at {found[0]}{hybrid}, but not writable",
            "run as root, or remount it writable in the container",
            demo=True,
        )
    detail = f"mounted at {found[0]}{hybrid}"
    return Finding("kernel", "cgroup2", State.GOOD, detail, demo=True)


# --- the lab's programs ---


def program(name: str) -> Finding:
    """A program that the lab runs, or the one library that it imports."""
    found = installed(name)
    if found:
        return Finding("lab", name, State.GOOD, found, demo=True)
    purpose = PURPOSES.get(name, "the lab compares with it")
    detail = f"not found; {purpose}"
    return Finding("lab", name, State.BAD, detail, tools.INSTALL[name], demo=True)


def installed(name: str) -> str:
    """Where `name` is; "" where it is not."""
    if program_path := tools.find(name):
        return str(program_path)
    library = find_spec(name)
    return str(library.origin) if library else ""


def checks() -> list[Callable[[], Finding]]:
    """Every check of this module, in the order they are told."""
    return [
        kernel_release,
        python_version,
        *(partial(capability, name) for name in CAPABILITIES),
        user_namespace,
        locked_memory,
        lockdown,
        unprivileged_bpf,
        seccomp,
        kernel_btf,
        jit,
        cgroup2,
        bpffs,
        tracefs,
        *(partial(program, name) for name in tools.INSTALL),
    ]
