"""Abilities of no type in particular: instructions, links, JIT, tokens, mounts."""

import errno
import struct
from collections.abc import Callable

from beewire.bpf import isa
from beewire.bpf.kernel import attr, privilege, syscall, versions
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.features import maps
from beewire.bpf.kernel.features.attach import attach_kind
from beewire.bpf.kernel.features.feature import (
    Feature,
    Outcome,
    ask,
    forbidden,
    judge,
    no,
    yes,
)
from beewire.bpf.kernel.features.maps import map_type
from beewire.bpf.kernel.features.programs import TRIVIAL
from beewire.bpf.kernel.probed import try_feature, try_level, try_program
from beewire.bpf.object import FEATURES, AttachKind, MapKind
from beewire.errors import UsageError

_NOBODY = 0xFFFF_FFFF
_ENABLE_STATS, _TOKEN_CREATE = 32, 36  # enum bpf_cmd
_BATCH = 24
_MANY = 5000  # more instructions than a program could have before Linux 5.2


def isa_level(level: int) -> Feature:
    """Whether the kernel takes instructions of this level (1 to 4, as clang's -mcpu)."""
    since = versions.ISA_LEVELS[level]
    return ask("instruction set", f"v{level}", since, lambda: judge(try_level(level)))


def of_target(name: str) -> Feature:
    """Whether the kernel has one of `object.FEATURES`, which the compiler asks for."""
    what, since = FEATURES[name]
    return ask("", what, since, lambda: judge(try_feature(name)))


def ring_buffer() -> Feature:
    """Whether there are ring buffers."""
    return map_type(MapKind.RINGBUF)


def bpf_link() -> Feature:
    """Whether BPF_LINK_CREATE is known, for cgroups and network namespaces."""
    return ask("", "bpf_link", "5.7", _try_link)


def _try_link() -> Outcome:
    record = attr.LINK_CREATE.pack(
        prog_fd=_NOBODY, attach_type=AttachKind.CGROUP_INET_INGRESS
    )
    # EBADF: it looked for the program, so it knows the command.
    result = syscall.try_bpf(syscall.Cmd.LINK_CREATE, record)
    return judge(result, (), (errno.EBADF,))


def perf_link() -> Feature:
    """Whether tracepoints can be attached by a link, which can be pinned."""
    found = attach_kind(AttachKind.PERF_EVENT)
    return found._replace(name="perf event link", group="")


def jit() -> Feature:
    """Whether programs run as machine code."""
    return ask("", "JIT compiler", "3.18", _try_jit)


def _try_jit() -> Outcome:
    program = try_program(TRIVIAL)
    if program < 0:
        return judge(program)
    with Descriptor(program):
        info = syscall.read_info(program, attr.PROG_INFO)
    if attr.PROG_INFO.integer(info, "jited_prog_len"):
        # It can be switched off while the machine runs.
        return yes()._replace(lasting=False)
    reason = "programs are interpreted; try `sysctl net.core.bpf_jit_enable=1`"
    return no(reason, lasting=False)


def _bounded_loops() -> Outcome:
    loop = (
        isa.mov_imm(0, 10),
        isa.alu_imm(isa.AluOp.SUB, 0, 1),
        isa.jump_imm(isa.JumpOp.JNE, 0, 0, -2),
        isa.exit_insn(),
    )
    return judge(try_program(loop))


def _large_programs() -> Outcome:
    return judge(try_program((isa.mov_imm(0, 0),) * _MANY + (isa.exit_insn(),)))


def _batches() -> Outcome:
    result = maps.create(MapKind.HASH)
    if result < 0:
        return judge(result)
    with Descriptor(result) as handle:
        record = attr.MAP_BATCH.pack(map_fd=handle.fd)
        found = syscall.try_bpf(_BATCH, record)
    # It was asked for no entries, and gave none.
    return yes() if found == 0 else judge(found)


def _statistics() -> Outcome:
    """Run-time statistics for as long as a descriptor is open; this one is closed."""
    result = syscall.try_bpf(_ENABLE_STATS, bytearray(struct.pack("=I", 0)))
    return judge(result, ("CAP_SYS_ADMIN",))


# What the kernel has beside types and kinds: since when, and how it is tried.
BOUNDARIES: dict[str, tuple[str, Callable[[], Outcome]]] = {
    "programs of more than 4096 instructions": ("5.2", _large_programs),
    "bounded loops": ("5.3", _bounded_loops),
    "batches of map entries": ("5.6", _batches),
    "statistics by descriptor": ("5.8", _statistics),
}


def machine_features() -> tuple[Feature, ...]:
    """JIT, links, and each of BOUNDARIES."""
    rest = [ask("", name, since, probe) for name, (since, probe) in BOUNDARIES.items()]
    return (jit(), bpf_link(), perf_link(), *rest)


# --- tokens and mounts ---

MOUNTS = {
    "bpf": ("4.4", "pins live there: mount -t bpf bpf /sys/fs/bpf"),
    "tracefs": ("4.1", "mount -t tracefs tracefs /sys/kernel/tracing"),
    "cgroup2": ("4.5", "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"),
    "securityfs": ("2.6.14", "mount -t securityfs securityfs /sys/kernel/security"),
}


def mount(kind: str) -> Feature:
    """Whether a file system of `kind`, one of MOUNTS, is mounted; looked up every time.

    Raises:
        UsageError: There is no such kind in MOUNTS.
    """
    if kind not in MOUNTS:
        raise UsageError(f"{kind!r} is none of {', '.join(MOUNTS)}")
    since, how = MOUNTS[kind]
    lines = privilege.read_text("/proc/self/mounts").split("\n")
    found = [line.split(" ")[1] for line in lines if line.split(" ")[2:3] == [kind]]
    outcome = yes() if found else no(f"not mounted: {how}")
    return Feature(f"mount {kind}", since, outcome.answer, outcome.reason, "mount")


def token() -> Feature:
    """Whether the kernel has BPF tokens, made from a BPF file system that delegates."""
    return ask("token", "BPF_TOKEN_CREATE", "6.9", _try_token)


def _try_token() -> Outcome:
    record = bytearray(struct.pack("=II", 0, _NOBODY))
    result = syscall.try_bpf(_TOKEN_CREATE, record)
    # It looked for the file system before it asked for privileges.
    return judge(result, (), (errno.EBADF,))


def delegation() -> Feature:
    """Whether a BPF file system can delegate commands, types of maps and programs."""
    return ask("mount", "bpf with delegation", "6.9", _try_delegation)


def _try_delegation() -> Outcome:
    """The option is set on a file system that is never mounted."""
    result = syscall.try_mount_option("bpf", "delegate_cmds", "any")
    if result == -errno.EPERM:
        return forbidden(("CAP_SYS_ADMIN",))
    return yes() if result >= 0 else judge(result)
