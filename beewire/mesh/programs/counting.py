"""Each decision is counted, in its pod."""

from beewire.bpf import u32, u64
from beewire.mesh.programs.decision import rule_of
from beewire.mesh.programs.state import PodState, counts, pods


def count(pod: PodState, decision: u32) -> None:
    """Count what became of a connection (`Decision`)."""
    if (counted := counts.lookup(pod.number)) is not None:
        counted.decisions[decision & 15] += 1


def count_in(netns: u64, decision: u32) -> None:
    """As `count`, for a namespace, which may be no pod's."""
    number: u32 = 0
    if (pod := pods.lookup(netns)) is not None:
        number = pod.number
    if (counted := counts.lookup(number)) is not None:
        counted.decisions[decision & 15] += 1


def count_rule(pod: PodState, verdict: u32) -> None:
    """Count the rule that decided about a connection."""
    if (counted := counts.lookup(pod.number)) is not None:
        counted.rules[rule_of(verdict) & 63] += 1
