"""What this kernel can do for this process, found out by trying it.

Every probe loads or creates something tiny and closes it again (about 50 us each). The
answers are kept for the life of the process. Never on the way to a loaded program.
"""

import errno
import os
from functools import cache
from typing import NamedTuple

from beewire.bpf import isa
from beewire.bpf.btf import Builder, Int, Kind, Struct, ext
from beewire.bpf.kernel import attr, explain, privilege, syscall, versions
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.names import VMLINUX
from beewire.bpf.kernel.probed import try_feature, try_level, try_program
from beewire.bpf.object import FEATURES, AttachKind, MapKind, ProgramKind
from beewire.errors import BeewireError, NotSupported

_TRIVIAL = (isa.mov_imm(0, 0), isa.exit_insn())
_SLEEPABLE = 1 << 4  # BPF_F_SLEEPABLE
_NO_PREALLOC, _MMAPABLE = 0x1, 0x400


class Feature(NamedTuple):
    """One ability: `available` here and now, else the `reason`; `since` in mainline.

    `forbidden`: this process lacks a capability, so that the kernel may well have it.
    """

    name: str
    since: str
    available: bool
    reason: str = ""
    forbidden: bool = False

    def require(self) -> None:
        """Return if it is available.

        Raises:
            NotSupported: it is not.
        """
        if not self.available:
            error = NotSupported(errno.EOPNOTSUPP, self.name, self.since)
            error.add_note(self.reason)
            raise error


def _answer(name: str, since: str, result: int, need: tuple[str, ...] = ()) -> Feature:
    """The Feature for a descriptor (which is closed) or -errno."""
    if result >= 0:
        os.close(result)
        return Feature(name, since, True)
    if result == -errno.EPERM:
        needs = ("CAP_BPF", *need)
        lacks = bool(privilege.missing(needs))
        return Feature(name, since, False, privilege.why_forbidden(needs), lacks)
    code = errno.errorcode.get(-result, str(-result))
    return Feature(name, since, False, f"{explain.reason(-result)} ({code})")


# Kinds of program that load only with one of these attach kinds.
_ATTACH = {
    ProgramKind.CGROUP_SOCK_ADDR: AttachKind.CGROUP_INET4_CONNECT,
    ProgramKind.CGROUP_SOCKOPT: AttachKind.CGROUP_GETSOCKOPT,
    ProgramKind.SK_LOOKUP: AttachKind.SK_LOOKUP,
    ProgramKind.NETFILTER: AttachKind.NETFILTER,
    ProgramKind.TRACING: AttachKind.TRACE_RAW_TP,
    ProgramKind.LSM: AttachKind.LSM_MAC,
}
# What those that hook by BTF id hook here; it is in every kernel that has them.
_HOOKS = {
    ProgramKind.TRACING: ("btf_trace_sched_switch", Kind.TYPEDEF),
    ProgramKind.LSM: ("bpf_lsm_file_open", Kind.FUNC),
}


@cache
def program_type(kind: ProgramKind) -> Feature:
    """Whether programs of this kind load."""
    name, since = f"program type {kind.name}", versions.PROGRAM_TYPES.get(kind, "")
    fields: dict[str, int] = {}
    if kind in _ATTACH:
        fields["expected_attach_type"] = _ATTACH[kind]
    if kind is ProgramKind.SYSCALL:
        fields["prog_flags"] = _SLEEPABLE
    if kind in (ProgramKind.EXT, ProgramKind.STRUCT_OPS):
        reason = "cannot be tried without something to extend"
        return Feature(name, since, False, reason)
    if kind in _HOOKS:
        hook = _hook_id(*_HOOKS[kind])
        if isinstance(hook, str):
            return Feature(name, since, False, hook)
        fields["attach_btf_id"] = hook
    need = privilege.program_needs(kind)
    return _answer(name, since, try_program(_TRIVIAL, kind, **fields), need)


def _hook_id(name: str, kind: Kind) -> int | str:
    """The BTF id of a hook, or why there is none."""
    from beewire.bpf.kernel.btf_cache import kernel_index  # noqa: PLC0415 - may take 50 ms

    try:
        found = kernel_index().find(name, kind)
    except BeewireError as error:
        return str(error)
    return f"this kernel's types have no {name}" if found is None else found


@cache
def attach_kind(kind: AttachKind) -> Feature:
    """Whether programs load for this hook; attaching them may still need more."""
    name = f"attach type {kind.name}"
    if kind not in versions.ATTACH_KINDS:
        reason = "there is no probe for it"
        return Feature(name, "", False, reason)
    program, since = versions.ATTACH_KINDS[kind]
    # UDP recvmsg, getpeername and getsockname programs must return 1.
    insns = (isa.mov_imm(0, 1), isa.exit_insn())
    result = try_program(insns, program, expected_attach_type=kind)
    return _answer(name, since, result, privilege.program_needs(program))


# Key size, value size, max_entries and flags where they are not 4, 4, 1 and 0.
_SHAPES = {
    MapKind.LPM_TRIE: (8, 4, 1, _NO_PREALLOC),
    MapKind.STACK_TRACE: (4, 8, 1, 0),
    MapKind.QUEUE: (0, 4, 1, 0),
    MapKind.STACK: (0, 4, 1, 0),
    MapKind.BLOOM_FILTER: (0, 4, 1, 0),
    MapKind.RINGBUF: (0, 0, 65536, 0),
    MapKind.USER_RINGBUF: (0, 0, 65536, 0),
    MapKind.CGROUP_STORAGE: (8, 4, 0, 0),
    MapKind.PERCPU_CGROUP_STORAGE: (8, 4, 0, 0),
    MapKind.REUSEPORT_SOCKARRAY: (4, 8, 1, 0),
    MapKind.ARENA: (0, 0, 1, _MMAPABLE),
    MapKind.SK_STORAGE: (4, 4, 0, _NO_PREALLOC),
    MapKind.INODE_STORAGE: (4, 4, 0, _NO_PREALLOC),
    MapKind.TASK_STORAGE: (4, 4, 0, _NO_PREALLOC),
    MapKind.CGRP_STORAGE: (4, 4, 0, _NO_PREALLOC),
}
_STORAGE = (
    MapKind.SK_STORAGE,
    MapKind.INODE_STORAGE,
    MapKind.TASK_STORAGE,
    MapKind.CGRP_STORAGE,
)
_OF_MAPS = (MapKind.ARRAY_OF_MAPS, MapKind.HASH_OF_MAPS)


@cache
def map_type(kind: MapKind) -> Feature:
    """Whether maps of this kind can be created."""
    name, since = f"map type {kind.name}", versions.MAP_TYPES.get(kind, "")
    if kind is MapKind.STRUCT_OPS:
        reason = "cannot be tried without operations to replace"
        return Feature(name, since, False, reason)
    return _answer(name, since, _create(kind))


def _create(kind: MapKind) -> int:
    key, value, entries, flags = _SHAPES.get(kind, (4, 4, 1, 0))
    fields = {
        "map_type": int(kind),
        "key_size": key,
        "value_size": value,
        "max_entries": entries,
        "map_flags": flags,
    }
    extra: int | None = None
    if kind in _STORAGE:
        builder = Builder()
        fields["btf_key_type_id"] = fields["btf_value_type_id"] = builder.add(
            Int("int", 4, signed=True)
        )
        extra = fields["btf_fd"] = _load_btf(builder)
    elif kind in _OF_MAPS:
        extra = fields["inner_map_fd"] = _create(MapKind.ARRAY)
    if extra is not None and extra < 0:
        return extra
    try:
        return syscall.try_bpf(syscall.Cmd.MAP_CREATE, attr.MAP_CREATE.pack(**fields))
    finally:
        if extra is not None:
            Descriptor(extra).close()


def _load_btf(builder: Builder) -> int:
    blob = bytearray(builder.encode())
    record = attr.BTF_LOAD.pack(btf=syscall.address(blob), btf_size=len(blob))
    return syscall.try_bpf(syscall.Cmd.BTF_LOAD, record)


# How the verifier says that a program may not call a helper, since 3.18.
_NO_HELPER = ("program of this type", "unknown func", "invalid func", "func ")


@cache
def helper(number: int, kind: ProgramKind) -> Feature:
    """Whether programs of this kind may call the helper with this number."""
    name = f"helper #{number} in {kind.name} programs"
    log = bytearray(1 << 16)
    fields = {"log_level": 1, "log_size": len(log), "log_buf": syscall.address(log)}
    if kind in _ATTACH:
        fields["expected_attach_type"] = _ATTACH[kind]
    insns = (isa.call_helper(number), *_TRIVIAL)
    result = try_program(insns, kind, **fields)
    if result >= 0:
        os.close(result)
    # Missing arguments are complained about only where the helper itself is allowed.
    lines = log.split(b"\0")[0].decode(errors="replace").split("\n")
    why = [line for line in lines if line.startswith(_NO_HELPER)]
    if result < 0 and (why or not lines[0]):
        reason = why[0] if why else explain.reason(-result)
        return Feature(name, "", False, reason)
    return Feature(name, "", True)


@cache
def isa_level(level: int) -> Feature:
    """Whether the kernel takes instructions of this level (1 to 4, as clang's -mcpu)."""
    name = f"instruction set v{level}"
    return _answer(name, versions.ISA_LEVELS[level], try_level(level))


@cache
def of_target(name: str) -> Feature:
    """Whether the kernel has one of `object.FEATURES`, which the compiler asks for."""
    what, since = FEATURES[name]
    return _answer(what, since, try_feature(name))


@cache
def ring_buffer() -> Feature:
    """Whether there are ring buffers."""
    return map_type(MapKind.RINGBUF)


@cache
def bpf_link() -> Feature:
    """Whether BPF_LINK_CREATE is known, for cgroups and network namespaces."""
    record = attr.LINK_CREATE.pack(
        prog_fd=0xFFFF_FFFF, attach_type=AttachKind.CGROUP_INET_INGRESS
    )
    result = syscall.try_bpf(syscall.Cmd.LINK_CREATE, record)
    # EBADF: it looked for the program, so it knows the command.
    return _known("bpf_link", "5.7", result, (-errno.EBADF,))


@cache
def perf_link() -> Feature:
    """Whether tracepoints can be attached by a link, which can be pinned."""
    program = try_program(_TRIVIAL, ProgramKind.TRACEPOINT)
    if program < 0:
        return _answer("perf event link", "5.15", program, ("CAP_PERFMON",))
    with Descriptor(program) as handle:
        record = attr.LINK_CREATE.pack(
            prog_fd=handle.fd, target_fd=0xFFFF_FFFF, attach_type=AttachKind.PERF_EVENT
        )
        result = syscall.try_bpf(syscall.Cmd.LINK_CREATE, record)
    return _known("perf event link", "5.15", result, (-errno.EBADF,))


def _known(name: str, since: str, result: int, signs: tuple[int, ...]) -> Feature:
    if result in signs:
        return Feature(name, since, True)
    return _answer(name, since, result)


@cache
def kernel_btf(path: str = VMLINUX) -> Feature:
    """Whether the kernel tells its own types."""
    available = os.access(path, os.R_OK)
    reason = "" if available else f"{path} is missing: CONFIG_DEBUG_INFO_BTF is off"
    return Feature("kernel BTF", "5.4", available, reason)


@cache
def core() -> Feature:
    """Whether the kernel itself applies CO-RE records."""
    builder = Builder()
    task = Struct("task_struct", 4)
    core_type_size = 9
    records = bytearray(
        ext.encode_core_relos(builder, [(0, task, "0", core_type_size)])
    )
    btf_fd = _load_btf(builder)
    if btf_fd < 0:
        return _answer("CO-RE by the kernel", "5.17", btf_fd)
    with Descriptor(btf_fd):
        result = try_program(
            _TRIVIAL,
            prog_btf_fd=btf_fd,
            core_relos=syscall.address(records),
            core_relo_cnt=1,
            core_relo_rec_size=ext.CORE_RELO.size,
        )
    return _answer("CO-RE by the kernel", "5.17", result)


@cache
def jit() -> Feature:
    """Whether programs run as machine code."""
    name, since = "JIT compiler", "3.18"
    program = try_program(_TRIVIAL)
    if program < 0:
        return _answer(name, since, program)
    with Descriptor(program):
        info = syscall.read_info(program, attr.PROG_INFO)
    if attr.PROG_INFO.integer(info, "jited_prog_len"):
        return Feature(name, since, True)
    reason = "programs are interpreted; try `sysctl net.core.bpf_jit_enable=1`"
    return Feature(name, since, False, reason)


def all_features() -> tuple[Feature, ...]:
    """Every probe without parameters, every level, program, map and attach type."""
    return (
        *(isa_level(level) for level in versions.ISA_LEVELS),
        *(of_target(name) for name in FEATURES),
        jit(),
        kernel_btf(),
        core(),
        bpf_link(),
        perf_link(),
        *(program_type(kind) for kind in versions.PROGRAM_TYPES),
        *(map_type(kind) for kind in versions.MAP_TYPES),
        *(attach_kind(kind) for kind in versions.ATTACH_KINDS),
    )
