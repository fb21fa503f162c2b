"""Pods as the plan wants them: what they say yes to, and what their sidecars say."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address

from beewire.mesh.enrol import Enrolment, Node
from beewire.mesh.programs import state
from beewire.mesh.programs.straight import Straight
from beewire.mesh.sidecar import ADMIN_PORT, Admin, Dump
from beewire.mesh.sidecar.reasons import IP
from beewire.mesh.straight.plan import Member, Plan, plan
from beewire.mesh.straight.tables import Tables


def kinds_of(node: Node, netns: int) -> Straight:
    """What the pod of a namespace says yes to; nothing if the programs do not know it."""
    pod = node.loaded[state.pods].get(netns)
    return Straight(0) if pod is None else Straight(pod.straight)


def addresses_of(node: Node, netns: int) -> tuple[IP, ...]:
    """The addresses of a pod that are its alone, as the programs know them.

    Link-local ones are left out: what they mean, the interface says.
    """
    owners = node.loaded[state.owners]
    found = (
        IPv6Address(address.to_bytes())
        for address, owner in owners.items()
        if owner == netns
    )
    plain = [each.ipv4_mapped or each for each in found if not each.is_link_local]
    return tuple(sorted(plain, key=lambda each: (each.version, int(each))))


def member(
    node: Node,
    name: str,
    enrolment: Enrolment,
    dump: Dump | None,
    *,
    problem: str = "",
    ports: Iterable[int] = (),
) -> Member:
    """An enrolled pod; `ports` are those that its application listens on."""
    config = enrolment.pod.config
    return Member(
        name=name,
        netns=enrolment.netns,
        addresses=addresses_of(node, enrolment.netns),
        kinds=kinds_of(node, enrolment.netns),
        dump=dump,
        problem=problem,
        ports=frozenset(ports),
        inbound_port=config.inbound_capture_port,
        outbound_port=config.proxy_port,
    )


def open_ways(
    node: Node, pods: Mapping[str, Enrolment], *, admin_port: int = ADMIN_PORT
) -> Plan:
    """Ask the sidecars of these pods, by their names, and open the ways between them.

    Once: where an agent runs, it does this again whenever a sidecar changes. All other
    ways of the node are closed.

    Raises:
        UnreadableError: a sidecar does not tell its configuration; nothing has changed.
        MeshError: there are more ways than the node has room for.
    """
    members = []
    for name, enrolment in pods.items():
        with Admin(enrolment.pod.netns, admin_port) as admin:
            members.append(member(node, name, enrolment, admin.dump()))
    made = plan(members)
    Tables(node.loaded).apply(made)
    return made
