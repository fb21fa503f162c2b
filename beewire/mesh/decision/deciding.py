"""`decide`, `decider` and `knob`."""

from typing import Final

from beewire.mesh.config import InterceptionMode, PodConfig, ProxyIdentity
from beewire.mesh.decision.families import Family
from beewire.mesh.decision.vocabulary import (
    KNOBS,
    Action,
    Connection,
    Decide,
    Direction,
    Rule,
    State,
    Verdict,
)

_OWNER_RULES = frozenset((Rule.OUT_SELF_CALL, Rule.OUT_LOCAL, Rule.OUT_PROXY))
_NOT_NEW: Final = {State.ESTABLISHED: Rule.ESTABLISHED, State.INVALID: Rule.INVALID}


def decide(config: PodConfig, connection: Connection) -> Verdict:
    """Return what happens to `connection` in a pod with `config`.

    Raises:
        UsageError: An owner group is a name, and the configuration has no number for it.
    """
    return decider(config)(connection)


def decider(config: PodConfig) -> Decide:
    """Return `decide` for one configuration; making it costs more than a decision.

    Raises:
        UsageError: As for `decide`.
    """
    if config.inbound_interception_mode is InterceptionMode.NONE:
        return lambda _: Verdict(Action.PASS, Rule.MODE_NONE)
    families = {4: Family(config, 4), 6: Family(config, 6)}

    def decide_one(connection: Connection) -> Verdict:
        version = connection.destination.version
        if version == 6 and not config.enable_ipv6:
            return Verdict(Action.PASS, Rule.FAMILY_OFF)
        if connection.state is not State.NEW:
            return Verdict(Action.PASS, _NOT_NEW[connection.state])
        family = families[version]
        if connection.direction is Direction.OUTBOUND:
            return family.outbound(connection)
        return family.inbound(connection)

    return decide_one


def knob(config: PodConfig, verdict: Verdict) -> str | None:
    """Return the field of `config` behind a verdict; None for rules that always hold."""
    if verdict.rule in _OWNER_RULES:
        if config.proxy_identity is ProxyIdentity.CGROUP:
            return "proxy_identity"
        return "proxy_gid" if str(verdict.item).startswith("gid") else "proxy_uid"
    return KNOBS.get(verdict.rule)
