"""Whether a connection would go past sidecars, as the programs would decide it."""

from beewire.mesh.decision import TCP, Action, Connection, Direction, Rule, Verdict
from beewire.mesh.explain import ways
from beewire.mesh.explain.explanation import Step
from beewire.mesh.explain.question import ended
from beewire.mesh.explain.subject import IP, Subject
from beewire.mesh.straight import Straight, Tables

RULES_PAST = {Straight.SPLICE: Rule.OUT_SPLICE, Straight.SHORTCUT: Rule.OUT_SHORTCUT}
_ENDS = {
    Rule.OUT_SPLICE: "past both sidecars",
    Rule.OUT_SHORTCUT: "past the sidecar there",
}


def kind_of(connection: Connection, verdict: Verdict) -> Straight:
    """By which way a connection may go past a sidecar; none for those that may not."""
    if connection.protocol != TCP or connection.direction is Direction.INBOUND:
        return Straight(0)
    if verdict.action is Action.TO_OUTBOUND:
        return Straight.SPLICE
    return Straight.SHORTCUT if verdict.rule is Rule.OUT_PROXY else Straight(0)


def past(subject: Subject, connection: Connection, verdict: Verdict) -> Verdict:
    """The verdict, or that of going past a sidecar where there is a way."""
    kind = kind_of(connection, verdict)
    if not kind or subject.node is None or not subject.netns or subject.is_shadow:
        return verdict
    dialled = connection.destination, connection.destination_port
    end = Tables(subject.node.loaded).end_of(subject.netns, kind, *dialled)
    if end is None:
        return verdict
    return Verdict(Action.PASS, RULES_PAST[kind], f"it ends at {ended(*end)}")


def steps(
    subject: Subject, rule: Rule, wanted: tuple[IP, int], target: str
) -> list[Step]:
    """The hooks of a connection that goes past a sidecar to `target`."""
    version, dialled = wanted[0].version, ended(*wanted)
    how = f"decides, and lets it go {_ENDS[rule]}"
    moved = target not in ("", dialled)
    found = [
        ways.step(
            subject,
            f"outbound{version}",
            how,
            dialled if moved else "",
            target if moved else "",
        ),
        ways.step(
            subject,
            "handover",
            "claims its way, from before the SYN, and counts it to its end",
        ),
    ]
    if moved:
        shows = "shows what was dialled"
        found.append(ways.step(subject, f"peer{version}", shows, target, dialled))
    return found
