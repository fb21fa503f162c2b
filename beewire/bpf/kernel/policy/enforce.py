"""The policies of this machine, before a load."""

import os

from beewire.bpf.kernel import names
from beewire.bpf.kernel.policy.audit import record
from beewire.bpf.kernel.policy.decide import Verdict, decide
from beewire.bpf.kernel.policy.facts import facts_of
from beewire.bpf.kernel.policy.rules import Policy, read_policy
from beewire.bpf.kernel.policy.who import Loader, loader
from beewire.bpf.object import ObjectSpec
from beewire.errors import PolicyError

VARIABLE = "BEEWIRE_POLICY"


def policies() -> list[Policy]:
    """The machine's policy, if it has one, and the one that the environment adds.

    Raises:
        PolicyError: one of them cannot be read or believed.
    """
    found = []
    if os.path.lexists(names.POLICY):
        found.append(read_policy(names.POLICY))
    if more := os.environ.get(VARIABLE):
        found.append(read_policy(more, owners=(0, os.geteuid())))
    return found


def check(
    spec: ObjectSpec, found: list[Policy] | None = None, who: Loader | None = None
) -> list[Verdict]:
    """What each policy says of an object; nothing is written.

    Raises:
        PolicyError: a policy cannot be read, or a signature not be verified.
    """
    facts = facts_of(spec)
    who = who or loader()
    return [
        decide(each, facts, who) for each in (policies() if found is None else found)
    ]


def enforce(spec: ObjectSpec) -> None:
    """Return if every policy allows `spec` to be loaded, after a line to its audit.

    Raises:
        PolicyError: one of them does not, or cannot be read, or no line be written.
    """
    who = loader()
    verdicts = check(spec, who=who)
    for verdict in verdicts:
        record(verdict, who)
    for verdict in verdicts:
        for each in verdict.decisions:
            if not each.allowed:
                raise refusal(verdict, who)


def refusal(verdict: Verdict, who: Loader) -> PolicyError:
    """The error for an object that a policy refuses."""
    refused = next(each for each in verdict.decisions if not each.allowed)
    program, policy = refused.program, verdict.policy
    error = PolicyError(
        f"the policy {policy.path} does not let {who.name} load program "
        f"{program.name!r} ({program.attach}): {refused.rule}",
        policy.path,
        rule=refused.rule,
    )
    for note in refused.near:
        error.add_note(note)
    digest = verdict.facts.digest
    if digest:
        error.add_note(f"the object is sha256:{digest}")
    return error
