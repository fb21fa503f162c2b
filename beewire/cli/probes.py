"""What the kernel itself answers, for `beewire doctor`: every feature there is.

Which of them the demo needs follows from the data path's own programs.
"""

from beewire.bpf.author.collection import reach
from beewire.bpf.kernel import features
from beewire.bpf.kernel.features import Answer, Feature
from beewire.bpf.object import ProgramKind
from beewire.cli.checks import Finding, State
from beewire.errors import UsageError
from beewire.mesh.enrol import PROGRAMS

# The doctor has checks of its own for these, which say what to change.
_TOLD_ELSEWHERE = ("mount bpf", "mount tracefs", "mount cgroup2", "btf of the kernel")
_GROUPS = {"": "kernel", "instruction set": "kernel", "token": "kernel"}
_STATES = {
    Answer.YES: State.GOOD,
    Answer.NO: State.BAD,
    Answer.UNKNOWN: State.UNKNOWN,
}


def probe_findings() -> list[Finding]:
    """Ask the kernel for each feature; some milliseconds altogether."""
    found, needed = features.all_features(), data_path()
    told = [
        finding(feature, demo=feature.name in needed)
        for feature in found
        if feature.group != "kfunc" and feature.name not in _TOLD_ELSEWHERE
    ]
    functions = [feature for feature in found if feature.group == "kfunc"]
    return [*told, kfunc_finding(functions)]


def data_path() -> set[str]:
    """The features that the mesh's programs use, by name."""
    reached = reach(PROGRAMS)
    kinds = (program.attach_kind for program in reached.programs.values())
    hooks = {f"attach type {kind.name}" for kind in kinds if kind is not None}
    return hooks | {f"map type {each.kind.name}" for each in reached.maps.values()}


def finding(feature: Feature, *, demo: bool = False) -> Finding:
    """A probe's answer in the doctor's words."""
    group = _GROUPS.get(feature.group, feature.group)
    name = feature.name.removeprefix(f"{group} ")
    state, reason = _STATES[feature.answer], feature.reason
    if state is State.UNKNOWN:
        # The missing capability is a finding of its own, and what keeps the demo back.
        return Finding(group, name, state, reason)
    if state is State.BAD and feature.since:
        reason += f"; mainline Linux has it since {feature.since}"
    return Finding(group, name, state, reason, "", demo=demo)


def kfunc_finding(functions: list[Feature]) -> Finding:
    """All kernel functions in one line: there are hundreds."""
    there = sum(map(bool, functions))
    unknown = [each for each in functions if each.unknown]
    if unknown and not there:
        return Finding("kfunc", "functions", State.UNKNOWN, unknown[0].reason)
    detail = f"{there} of the {len(functions)} that Beewire has heard of"
    state = State.GOOD if there else State.BAD
    return Finding("kfunc", "functions", state, detail)


def everything() -> dict[str, object]:
    """Every feature for programs to read, and what may be used with what.

    The first time after a boot this takes seconds: 20 000 calls are tried.
    """
    kinds = [kind for kind in ProgramKind if kind]
    maps = [kind for kind in features.MapKind if kind]
    told: dict[str, object] = {
        "features": [
            {
                "name": each.name,
                "group": each.group,
                "since": each.since,
                "answer": each.answer.value,
                "reason": each.reason,
            }
            for each in features.all_features()
        ],
        "helpers": {kind.name: list(features.helpers(kind)) for kind in kinds},
        "kfuncs": {kind.name: list(features.kfuncs(kind)) for kind in kinds},
        "map_flags": {
            kind.name: [flag.name for flag in features.map_flags(kind)] for kind in maps
        },
    }
    features.save()
    return told


def program_kind(word: str) -> ProgramKind:
    """The type of program that a command line names, in any case.

    Raises:
        UsageError: there is none of this name.
    """
    known = {kind.name.lower(): kind for kind in ProgramKind if kind}
    if word.lower() not in known:
        raise UsageError(f"there is no program type {word!r}: {', '.join(known)}")
    return known[word.lower()]
