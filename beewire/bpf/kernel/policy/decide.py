"""Rules and facts to decisions: a function of its input, so that it can be explained."""

from fnmatch import fnmatchcase
from typing import NamedTuple

from beewire.bpf.kernel.policy.facts import Facts, ProgramFacts
from beewire.bpf.kernel.policy.rules import Policy, Rule
from beewire.bpf.kernel.policy.signature import signers
from beewire.bpf.kernel.policy.who import Loader


class Decision(NamedTuple):
    """What becomes of one program; `rule` says why, `near` what other rules lack."""

    program: ProgramFacts
    allowed: bool
    rule: str
    near: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """What becomes of an object, by one policy."""

    policy: Policy
    facts: Facts
    decisions: tuple[Decision, ...]

    @property
    def allowed(self) -> bool:
        """Whether every program is."""
        return all(each.allowed for each in self.decisions)


def decide(policy: Policy, facts: Facts, who: Loader) -> Verdict:
    """What `policy` says of an object that `who` loads.

    Raises:
        PolicyError: a signature is asked for, and cannot be verified here.
    """
    found = [_program(policy, facts, each, who) for each in facts.programs]
    return Verdict(policy, facts, tuple(found))


def _program(
    policy: Policy, facts: Facts, program: ProgramFacts, who: Loader
) -> Decision:
    near: list[str] = []
    for rule in policy.rules:
        lacks = _lacks(rule, policy, facts, program, who)
        if not lacks:
            return Decision(program, rule.allows, rule.name, tuple(near))
        if rule.allows:
            near.append(f"{rule.name!r} does not hold: {lacks}")
    word = "allow" if policy.default else "deny"
    return Decision(program, policy.default, f'default = "{word}"', tuple(near))


def _lacks(
    rule: Rule, policy: Policy, facts: Facts, program: ProgramFacts, who: Loader
) -> str:
    """The first condition of a rule that does not hold, or ""."""
    if rule.users and not {who.name, str(who.uid)} & set(rule.users):
        return f"user {who.name} is not among its users"
    if rule.types and program.type not in rule.types:
        return f"type {program.type.lower()} is not among its types"
    if rule.attach and not _matches(program.attach, rule.attach):
        return f"attach point {program.attach!r} is not among its own"
    uses = _uses("helper", program.helpers, rule.helpers, rule) or _uses(
        "map type", program.maps, rule.maps, rule
    )
    if uses:
        return uses
    if rule.digests and facts.digest not in rule.digests:
        return "the object's digest is not among its digests"
    if rule.signed_by and not signers(policy, facts, rule):
        names = " or ".join(rule.signed_by)
        return f"the object has no signature of {names} in {policy.signatures}"
    return ""


def _uses(what: str, used: tuple[str, ...], named: tuple[str, ...], rule: Rule) -> str:
    if not named:
        return ""
    inside = [name for name in used if _matches(name, named)]
    if rule.allows:
        others = [name.lower() for name in used if name not in inside]
        return f"{what} {others[0]} is not among its own" if others else ""
    return "" if inside else f"none of its {what}s is used"


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
