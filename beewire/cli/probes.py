"""What the kernel itself answers, for `beewire doctor`: every feature that Beewire uses.

Which ones those are follows from the hooks and maps that the author room offers, and
which of them the demo needs from the data path's own programs.
"""

from beewire.bpf import author
from beewire.bpf.author.collection import reach
from beewire.bpf.author.hooks import HOOKS
from beewire.bpf.kernel import features
from beewire.bpf.kernel.features import Feature
from beewire.bpf.lang import MapDecl
from beewire.bpf.object import FEATURES, AttachKind, MapKind
from beewire.cli.checks import Finding, State
from beewire.mesh.enrol import PROGRAMS


def probe_findings() -> list[Finding]:
    """Ask the kernel for each feature; some milliseconds altogether."""
    hooks, maps = data_path()
    attach_kinds = [
        hook.attach_kind for hook in HOOKS.values() if hook.attach_kind is not None
    ]
    program_kinds = dict.fromkeys(hook.kind for hook in HOOKS.values())
    return [
        *(finding("kernel", found) for found in general()),
        *(finding("program type", features.program_type(k)) for k in program_kinds),
        *(
            finding("attach type", features.attach_kind(kind), demo=kind in hooks)
            for kind in attach_kinds
        ),
        *(
            finding("map type", features.map_type(kind), demo=kind in maps)
            for kind in map_kinds()
        ),
    ]


def general() -> list[Feature]:
    """Features of the kernel that belong to no type of program or map."""
    return [
        *(features.isa_level(level) for level in (1, 2, 3, 4)),
        *(features.of_target(name) for name in FEATURES),
        features.core(),
        features.bpf_link(),
        features.perf_link(),
    ]


def map_kinds() -> list[MapKind]:
    """Every kind of map that the author room offers."""
    offered = (getattr(author, name) for name in author.__all__)
    kinds = {
        found.kind
        for found in offered
        if isinstance(found, type) and issubclass(found, MapDecl)
    }
    return sorted(kinds)


def data_path() -> tuple[set[AttachKind | None], set[MapKind]]:
    """The hooks and the maps that the mesh's programs use."""
    reached = reach(PROGRAMS)
    hooks = {program.attach_kind for program in reached.programs.values()}
    return hooks, {declared.kind for declared in reached.maps.values()}


def finding(group: str, feature: Feature, *, demo: bool = False) -> Finding:
    """A probe's answer in the doctor's words."""
    name = feature.name.removeprefix(f"{group} ")
    if feature.available:
        return Finding(group, name, State.GOOD, "", demo=demo)
    if feature.forbidden:
        # The missing capability is a finding of its own, and what keeps the demo back.
        return Finding(group, name, State.BAD, feature.reason)
    since = f"; mainline Linux has it since {feature.since}" if feature.since else ""
    return Finding(group, name, State.BAD, feature.reason + since, "", demo=demo)
