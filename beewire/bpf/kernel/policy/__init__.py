"""Who may load what: a file that root writes, and that loading keeps to.

    # /etc/beewire/policy.toml
    audit = "syslog"

    [[rule]]
    name = "observers trace"
    decision = "allow"
    users = ["observer"]
    types = ["tracepoint", "raw_tracepoint"]
    helpers = ["map_*", "ktime_*", "get_current_*"]

The first rule that holds for a program decides on it, an object is loaded if all of its
programs are allowed, and what no rule decides is refused. Without the file everything is
allowed. A second file, which BEEWIRE_POLICY names, can only forbid more.

Imported only where there is a policy, or it is asked for.

rules       the file -> Policy; who may have written it
facts       what a rule can ask of an object
decide      rules and facts -> decisions
signature   Ed25519 signatures of objects
who         who loads
audit       a line for each load
enforce     ... all of it, before a load
append      one more rule at the end of the file
"""

from beewire.bpf.kernel.policy.append import append_digest, toml_rule
from beewire.bpf.kernel.policy.decide import Decision, Verdict, decide
from beewire.bpf.kernel.policy.enforce import check, enforce, policies
from beewire.bpf.kernel.policy.facts import Facts, ProgramFacts, facts_of
from beewire.bpf.kernel.policy.rules import (
    Policy,
    Rule,
    parse_policy,
    read_policy,
)
from beewire.bpf.kernel.policy.signature import sign
from beewire.bpf.kernel.policy.who import Loader, loader, loader_of

__all__ = [
    "Decision",
    "Facts",
    "Loader",
    "Policy",
    "ProgramFacts",
    "Rule",
    "Verdict",
    "append_digest",
    "check",
    "decide",
    "enforce",
    "facts_of",
    "loader",
    "loader_of",
    "parse_policy",
    "policies",
    "read_policy",
    "sign",
    "toml_rule",
]
