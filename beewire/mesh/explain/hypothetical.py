"""Explain a connection that might be made, from the pod's configuration."""

from ipaddress import IPv4Address, IPv6Address

from beewire.errors import UsageError
from beewire.mesh.config import ProxyIdentity
from beewire.mesh.decision import (
    NO_OWNER,
    TCP,
    UDP,
    Action,
    Connection,
    Direction,
    Rule,
    Verdict,
    decide,
)
from beewire.mesh.explain import ways
from beewire.mesh.explain.explanation import Explanation, Step
from beewire.mesh.explain.past import RULES_PAST, past
from beewire.mesh.explain.past import steps as steps_past
from beewire.mesh.explain.question import Question, ended
from beewire.mesh.explain.subject import IP, Subject
from beewire.mesh.explain.words import ACTIONS, RULES

LOOPBACK: dict[int, IP] = {4: IPv4Address("127.0.0.1"), 6: IPv6Address("::1")}
DNS_PORT = 53
SHADOW = (
    "the pod is in shadow mode: this is compared with what its rules do, and they act"
)


def explain(subject: Subject, question: Question) -> Explanation:
    """Decide as the programs would, and name all that has a part in it.

    Raises:
        UsageError: neither end of the connection is the pod's.
        MeshError: the pod's network has to be asked, and is gone.
    """
    connection = connection_of(subject, question)
    verdict = decide(subject.configuration.config, connection)
    verdict = past(subject, connection, verdict)
    return Explanation(
        pod=subject.name,
        connection=str(question),
        live=False,
        action=verdict.action.name,
        outcome=_outcome(subject, verdict),
        rule=verdict.rule.name,
        number=int(verdict.rule),
        because=RULES[verdict.rule],
        matched="" if verdict.item is None else str(verdict.item),
        origin=subject.origin(verdict),
        steps=tuple(_steps(subject, connection, verdict)),
        counts=counts(subject, verdict.rule),
        notes=tuple(_notes(subject, question, connection, verdict)),
    )


def connection_of(subject: Subject, question: Question) -> Connection:
    """The connection as its first packet would look.

    Raises:
        UsageError: neither end is the pod's.
        MeshError: the pod's routes have to be asked, and it is gone.
    """
    destination = question.destination
    if destination.is_unspecified:
        destination = LOOPBACK[destination.version]
    direction = ways.direction_of(subject, question.source, destination)
    if direction is None:
        own = ", ".join(map(str, subject.addresses)) or "not known"
        raise UsageError(
            f"neither {question.source} nor {destination} is an address of pod"
            f" {subject.name}: its own are {own}"
        )
    local = subject.is_own(destination)
    source = question.source
    if source is None:
        source = destination if local else _first(subject, destination.version)
    if direction is Direction.INBOUND:
        local = False
    return Connection(
        direction=direction,
        protocol=question.protocol,
        source=source,
        source_port=question.source_port,
        destination=destination,
        destination_port=question.destination_port,
        uid=question.uid,
        gid=question.gid,
        in_proxy=question.in_proxy,
        interface=_interface(subject, question, destination, local=local),
        local=local,
    )


def _first(subject: Subject, version: int) -> IP:
    own = (each for each in subject.addresses if each.version == version)
    return next(own, LOOPBACK[version])


def _interface(
    subject: Subject, question: Question, destination: IP, *, local: bool
) -> str:
    config = subject.configuration.config
    needed = config.exclude_interfaces or config.reroute_virtual_interfaces
    if question.interface or local or not needed:
        return question.interface
    towards = destination
    if subject.is_own(destination) and question.source is not None:
        towards = question.source
    return subject.interface_to(towards)


def counts(subject: Subject, rule: Rule) -> dict[str, int]:
    """The counter of the rule that decided."""
    counted = subject.times(rule)
    return {} if counted is None else {f"{rule.name} in this pod": counted}


def _outcome(subject: Subject, verdict: Verdict) -> str:
    port = ways.listener_port(subject, verdict.action)
    return ACTIONS[verdict.action] + (f", port {port}" if port else "")


def _steps(subject: Subject, connection: Connection, verdict: Verdict) -> list[Step]:
    wanted = connection.destination, connection.destination_port
    if connection.direction is Direction.INBOUND:
        if connection.protocol != TCP:
            return []
        return ways.inbound(subject, verdict.action, ended(*wanted))
    if connection.protocol == UDP and connection.destination_port != DNS_PORT:
        return []
    if verdict.rule in RULES_PAST.values():
        return steps_past(
            subject, verdict.rule, wanted, str(verdict.item).rpartition(" ")[2]
        )
    target = ways.target_of(subject, verdict.action, wanted)
    steps = ways.outbound(subject, verdict.action, wanted, target)
    if connection.protocol == UDP:
        # A socket may connect, or ask without.
        steps += ways.query(subject, verdict.action, wanted, target)
    if (
        connection.local
        and verdict.action is Action.PASS
        and connection.protocol == TCP
    ):
        said = "sees that it stays in the pod, and leaves it alone"
        steps.append(ways.step(subject, "inbound", said))
    return steps


def _notes(
    subject: Subject, question: Question, connection: Connection, verdict: Verdict
) -> list[str]:
    config = subject.configuration.config
    notes = []
    by_cgroup = config.proxy_identity is ProxyIdentity.CGROUP
    proxies = config.proxy_uid, config.proxy_gid
    if by_cgroup and (question.uid in proxies[0] or question.gid in proxies[1]):
        notes.append(
            f"the sidecar is known by its cgroup, {subject.proxy_cgroup}: its user or"
            " group makes nobody the sidecar (--proxy asks for the sidecar's connections)"
        )
    if not by_cgroup and NO_OWNER in (question.uid, question.gid):
        notes.append(
            "the sidecar is known by its owners: --uid and --gid say whose it is"
        )
    if connection.protocol == UDP and _steps(subject, connection, verdict):
        notes.append(
            "a socket that connects passes connect(); one that does not, sendmsg()"
        )
    if subject.is_shadow:
        notes.append(SHADOW)
    if subject.node is None or not subject.netns:
        notes.append("the pod is not enrolled here: nothing of this happens yet")
    elif subject.netns not in subject.node.cookies():
        notes.append("the programs do not know the pod: every connection is refused")
    elif (
        connection.direction is Direction.INBOUND
        and verdict.action is Action.TO_INBOUND
        and not subject.node.has_listener(subject.netns)
    ):
        notes.append(
            "the sidecar does not listen now: it would be refused, with a reset"
        )
    if any("127.65.x.y" in step.after for step in _steps(subject, connection, verdict)):
        notes.append(
            "127.65.x.y is the alias that the destination gets when it is dialled first;"
            " once the pod has 4,096, others go to 127.64.0.x"
        )
    return notes
