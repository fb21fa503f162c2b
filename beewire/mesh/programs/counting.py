"""Each decision is counted, in its pod; what is refused is told, too (events)."""

from beewire.bpf import u32, u64
from beewire.mesh.programs.decision import rule_of
from beewire.mesh.programs.state import counts


def count(netns: u64, decision: u32) -> None:
    """Count what became of a connection (`Decision`); no pod's counts are those of 0."""
    if (counted := counts.lookup(netns)) is None:
        counted = counts.lookup(0)
    if counted is not None:
        counted.decisions[decision & 15] += 1


def count_rule(netns: u64, verdict: u32) -> None:
    """Count the rule that decided about a connection."""
    if (counted := counts.lookup(netns)) is not None:
        counted.rules[rule_of(verdict) & 63] += 1
