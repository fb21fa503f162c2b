"""What this kernel can do for this process, found out by trying it.

    from beewire.bpf import features

    if features.map_type(features.MapKind.ARENA): ...
    features.helper("ringbuf_output", features.ProgramKind.XDP).reason
    features.attach_kind(features.AttachKind.TRACE_FENTRY).require()  # or NotSupported

A probe loads or creates something tiny and closes it again, 10 to 100 us each, when it is
first asked for. Its answer is kept for this boot and these privileges (see store). A
Feature is true where the answer is yes. Where the process may not ask, the answer is
*unknown*, and the reason names the capability. Never on the way to a loaded program.

feature     Feature, Answer
programs    types of programs
maps        types of maps, and their flags
attach      kinds of attachments
calls       which helpers and kernel functions a type of program may call
types       BTF: which types the kernel knows, and whose it tells
machine     instructions, links, JIT, tokens, mounts
store       the answers, kept between processes
"""

from beewire.bpf.kernel.features.attach import attach_kind
from beewire.bpf.kernel.features.calls import (
    helper,
    helpers,
    kfunc,
    kfunc_names,
    kfuncs,
)
from beewire.bpf.kernel.features.feature import Answer, Feature
from beewire.bpf.kernel.features.machine import (
    BOUNDARIES,
    MOUNTS,
    bpf_link,
    delegation,
    isa_level,
    jit,
    machine_features,
    mount,
    of_target,
    perf_link,
    ring_buffer,
    token,
)
from beewire.bpf.kernel.features.maps import map_flag, map_flags, map_type
from beewire.bpf.kernel.features.programs import program_type
from beewire.bpf.kernel.features.store import forget, save
from beewire.bpf.kernel.features.types import (
    TYPES,
    btf,
    core,
    kernel_btf,
    module_btf,
)
from beewire.bpf.kernel.versions import (
    ATTACH_KINDS,
    ISA_LEVELS,
    MAP_FLAGS,
    MAP_TYPES,
    PROGRAM_TYPES,
    MapFlag,
)
from beewire.bpf.object import FEATURES, AttachKind, MapKind, ProgramKind


def all_features() -> tuple[Feature, ...]:
    """Every probe without parameters, and every level, type, kind, flag and function.

    About 500 probes: 0.1 s the first time after a boot, then a third of that. Which helpers
    a type of program may call is left out: `helpers(kind)` tells 211 of them at once.
    """
    found = (
        *(isa_level(level) for level in ISA_LEVELS),
        *(of_target(name) for name in FEATURES),
        *machine_features(),
        kernel_btf(),
        module_btf(),
        core(),
        *(btf(name) for name in TYPES),
        *(program_type(kind) for kind in PROGRAM_TYPES),
        *(map_type(kind) for kind in MAP_TYPES),
        *(map_flag(flag) for flag in MAP_FLAGS),
        *(attach_kind(kind) for kind in ATTACH_KINDS),
        *(kfunc(name) for name in kfunc_names()),
        token(),
        delegation(),
        *(mount(name) for name in MOUNTS),
    )
    save()
    return found


__all__ = [
    "ATTACH_KINDS",
    "BOUNDARIES",
    "Answer",
    "AttachKind",
    "Feature",
    "MapFlag",
    "MapKind",
    "ProgramKind",
    "all_features",
    "attach_kind",
    "bpf_link",
    "btf",
    "core",
    "delegation",
    "forget",
    "helper",
    "helpers",
    "isa_level",
    "jit",
    "kernel_btf",
    "kfunc",
    "kfunc_names",
    "kfuncs",
    "map_flag",
    "map_flags",
    "map_type",
    "module_btf",
    "mount",
    "of_target",
    "perf_link",
    "program_type",
    "ring_buffer",
    "save",
    "token",
]
