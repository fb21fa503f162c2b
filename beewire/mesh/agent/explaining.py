"""Explain connections of enrolled pods, and list those that went past a sidecar.

Reads the pins and records of the node, by itself: it changes nothing, and asks no agent.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from beewire.errors import MeshError, UsageError
from beewire.mesh.agent import older, processes, records, status
from beewire.mesh.agent.directories import Directories
from beewire.mesh.agent.records import CLOSED, PodRecord
from beewire.mesh.agent.settings import configuration_of
from beewire.mesh.agent.view import CLOSE, LISTEN, TCP, UDP, NetworkView, SocketState
from beewire.mesh.agent.ways import survey
from beewire.mesh.decision import Action, Rule, Verdict
from beewire.mesh.enrol import Node
from beewire.mesh.enrol.entries import DECISIONS
from beewire.mesh.explain import (
    RULES,
    Explanation,
    Question,
    Subject,
    explain,
    explain_socket,
    parse,
    stored_in,
)
from beewire.mesh.explain.question import end_of, ended
from beewire.mesh.explain.subject import IP, addresses_of
from beewire.mesh.netns import SO_NETNS_COOKIE
from beewire.mesh.programs.state import Decision
from beewire.mesh.straight import kinds_of

_NAMES = {TCP: "tcp", UDP: "udp"}
# What of a pod's own flows is left alone. The sidecar's connections are not meant.
_PAST = (
    Decision.OUTBOUND_EXCLUDED,
    Decision.OUTBOUND_LOCAL,
    Decision.INBOUND_EXCLUDED,
)


class Missed(NamedTuple):
    """A flow of a pod that did not go through its sidecar, and why.

    `rule` is the name of the rule that left it alone, "" where no program saw it.
    """

    flow: str
    kind: str
    why: str
    rule: str = ""
    origin: str = ""


@contextlib.contextmanager
def opened(directories: Directories) -> Iterator[Node | None]:
    """The node's programs; None where nothing is loaded."""
    node = status.opened(directories)
    try:
        yield node
    finally:
        if node is not None:
            node.close()


def subject_of(record: PodRecord, node: Node | None) -> Subject:
    """The pod of a record, as it is asked about."""
    return Subject(
        name=record.name,
        cgroup=Path(record.cgroup),
        proxy_cgroup=Path(record.proxy_cgroup),
        namespace=Path(record.netns),
        addresses=addresses_of(record.addresses),
        configuration=configuration_of(record.config, record.addresses),
        netns=int(record.id),
        node=node,
    )


def explain_question(
    directories: Directories, pod: str, question: Question
) -> Explanation:
    """Explain a connection that might be made in a pod.

    Raises:
        MeshError: there is no such pod.
        UsageError: neither end is the pod's.
    """
    record = records.get(directories, pod)
    with opened(directories) as node:
        subject = subject_of(record, node)
        told = explain(subject, question)
        told = told._replace(
            notes=(*told.notes, *_why_not_past(directories, subject, question))
        )
    return _with_neighbours(directories, record, told)


def _why_not_past(
    directories: Directories, subject: Subject, question: Question
) -> Iterator[str]:
    """Why a connection of a pod that says yes does not go past a sidecar."""
    node = subject.node
    if node is None or not kinds_of(node, subject.netns):
        return
    place = question.destination, question.destination_port
    made = survey(records.every(directories), node)
    for each in made.judged:
        is_asked = each.client.netns == subject.netns or (
            each.client.addresses and question.source in each.client.addresses
        )
        about = each.address is None and place[0] in each.server.addresses
        if not is_asked or each.is_open:
            continue
        if about or (each.address, each.port) == place:
            kind = (each.kind.name or "").lower()
            for why in each.refusals:
                yield f"no {kind} to {each.server.name}: {why}"


def _with_neighbours(
    directories: Directories, record: PodRecord, told: Explanation
) -> Explanation:
    # Programs of others that decide before ours do, at the hooks of this connection.
    if record.state == CLOSED:
        return told
    passed = {step.program for step in told.steps}
    first = [
        str(each)
        for each in status.beside(directories, record)
        if each.comes_first and each.hook in passed
    ]
    return told._replace(notes=(*told.notes, *first))


def explain_live(directories: Directories, pod: str, which: str) -> list[Explanation]:
    """Explain connections that are there: of PID, of PID/FD, or with these ends.

    `pod` may be "": the process, or the connection, says which it is.

    Raises:
        MeshError: there is none, or it cannot be looked into.
        UsageError: `which` is nothing of these.
    """
    process, slash, number = which.strip().partition("/")
    with opened(directories) as node:
        if node is None:
            raise MeshError(
                f"no programs of Beewire are loaded below {directories.pins}: nothing is"
                " kept of any connection"
            )
        if process.isdigit() and (not slash or number.isdigit()):
            wanted = int(number) if slash else None
            return _of_process(directories, node, pod, int(process), wanted)
        return _with_ends(directories, node, pod, which)


def _of_process(
    directories: Directories, node: Node, pod: str, pid: int, number: int | None
) -> list[Explanation]:
    held = sorted((fd, inode) for inode, fd in processes.sockets_of(pid).items())
    if number is not None:
        held = [each for each in held if each[0] == number]
    if not held:
        what = f"descriptor {number} of process {pid}" if number else f"process {pid}"
        raise MeshError(f"{what} is no socket, or there is none such")
    known = _known(directories, pod)
    tables: dict[str, dict[int, SocketState]] = {}
    found = []
    for fd, inode in held:
        record = known.get(_netns_of(pid, fd))
        if record is None:
            continue
        if record.id not in tables:
            tables[record.id] = {each.inode: each for each in _sockets(record)}
        if (each := tables[record.id].get(inode)) is not None:
            found.append(_explained(directories, record, node, each, pid, fd))
    if not found:
        raise MeshError(
            f"process {pid} has no connection in "
            + (f"pod {pod}" if pod else "a pod that is enrolled here")
        )
    return found


def _known(directories: Directories, pod: str) -> dict[int, PodRecord]:
    # By the cookies of their namespaces.
    asked = [records.get(directories, pod)] if pod else records.every(directories)
    return {int(record.id): record for record in asked}


def _netns_of(pid: int, fd: int) -> int:
    # The namespace that a socket was made in, wherever the process is; 0 for no socket
    # of a network.
    copy = processes.copy_of(pid, fd)
    with socket.socket(fileno=copy) as sock:
        try:
            told = sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
        except OSError:
            return 0
    return int.from_bytes(told, "little")


def _with_ends(
    directories: Directories, node: Node, pod: str, which: str
) -> list[Explanation]:
    one, other = _ends(which)
    for record in _known(directories, pod).values():
        sockets = [each for each in _sockets(record) if each.inode]
        # The socket that dialled, or else the one that was accepted.
        for local, remote in ((one, other), (other, one)):
            for each in (each for each in sockets if _local(each) == local):
                pid, number = _holder(record, each)
                told = _explained(directories, record, node, each, pid, number)
                shown = told.connection.split(" ")[-1]
                if not remote or remote in (_remote(each), shown):
                    return [told]
    where = f"pod {pod}" if pod else "any pod"
    raise MeshError(f"no socket of {where} is {which}")


def _ends(which: str) -> tuple[str, str]:
    # A connection's two ends, or its own end alone, as text.
    words = which.split()
    if "->" in which or "→" in which or "to" in words:
        question = parse(words)
        if question.source is None:
            raise UsageError(f"{which!r} has one end only")
        return (
            ended(question.source, question.source_port),
            ended(question.destination, question.destination_port),
        )
    if words and words[0] in _NAMES.values():
        words = words[1:]
    if len(words) != 1 or ":" not in words[0]:
        raise UsageError(
            f"{which!r} is neither a process (4711), one of its descriptors (4711/12)"
            " nor a connection (10.0.0.5:1234 '->' 10.96.0.10:80)"
        )
    return ended(*end_of(words[0])), ""


def _sockets(record: PodRecord) -> list[SocketState]:
    try:
        with NetworkView(Path(record.netns)) as view:
            found = [*view.sockets(TCP), *view.sockets(UDP)]
    except MeshError:  # its namespace is gone
        return []
    return [each for each in found if each.state != LISTEN and _is_connected(each)]


def _is_connected(each: SocketState) -> bool:
    return each.state != CLOSE or each.remote_port != 0 or each.protocol == UDP


def _holder(record: PodRecord, wanted: SocketState) -> tuple[int, int]:
    # A process that holds a socket, and by which descriptor: the pod's own first.
    own = processes.pids_in(Path(record.cgroup)) if record.cgroup else []
    for pid in dict.fromkeys((*own, *processes.all_pids())):
        if (number := processes.sockets_of(pid).get(wanted.inode)) is not None:
            return pid, number
    raise MeshError(f"no process holds {older.text_of(wanted)}")


def _explained(
    directories: Directories,
    record: PodRecord,
    node: Node,
    each: SocketState,
    pid: int,
    number: int,
) -> Explanation:
    copy = processes.copy_of(pid, number)
    try:
        remote = _remote(each) if each.remote_port else ""
        told = explain_socket(subject_of(record, node), copy, remote)
    finally:
        os.close(copy)
    return _with_neighbours(directories, record, told)


def _local(each: SocketState) -> str:
    return ended(_plain(each.local), each.local_port)


def _remote(each: SocketState) -> str:
    return ended(_plain(each.remote), each.remote_port)


def _plain(address: IP) -> IP:
    return getattr(address, "ipv4_mapped", None) or address


def why_not(directories: Directories, pod: str) -> list[Missed]:
    """What of a pod's flows does not go through its sidecar, each with the reason.

    Connections that are open, by the verdicts that their sockets hold; what no program
    sees; and the rules that left others alone, which have ended.

    Raises:
        MeshError: there is no such pod, or nothing is loaded.
    """
    record = records.get(directories, pod)
    with opened(directories) as node:
        if node is None:
            raise MeshError(f"no programs are loaded below {directories.pins}")
        subject = subject_of(record, node)
        found = list(_left_alone(record, subject))
        found += [
            Missed(each.what, each.kind, each.why) for each in older.uncaptured(record)
        ]
        found += _by_rule(subject)
    return found


def _left_alone(record: PodRecord, subject: Subject) -> Iterator[Missed]:
    holders = {
        inode: (pid, number)
        for pid in _applications(record)
        for inode, number in processes.sockets_of(pid).items()
    }
    for each in _sockets(record):
        if each.inode not in holders:
            continue
        try:
            copy = processes.copy_of(*holders[each.inode])
        except MeshError:  # it has ended meanwhile
            continue
        try:
            kept = stored_in(subject, copy)
        finally:
            os.close(copy)
        if kept.action is not Action.PASS or not (kept.dialled or kept.came):
            continue
        if kept.rule is Rule.IN_LOCAL:  # the end that dialled is listed
            continue
        origin = subject.origin(Verdict(kept.action, kept.rule))
        if kept.config != kept.current:
            origin = f"an earlier configuration (id {kept.config})"
        ends = _remote(each), _local(each)
        if kept.dialled:
            ends = _local(each), ended(*kept.dialled)
        flow = f"{_NAMES[each.protocol]} {' -> '.join(ends)}"
        yield Missed(flow, "left alone", RULES[kept.rule], kept.rule.name, origin)


def _applications(record: PodRecord) -> list[int]:
    sidecar = set(processes.pids_in(Path(record.proxy_cgroup)))
    return [pid for pid in processes.pids_in(Path(record.cgroup)) if pid not in sidecar]


def _by_rule(subject: Subject) -> Iterator[Missed]:
    if subject.node is None:
        return
    for rule, times in subject.node.rules(subject.netns).items():
        if DECISIONS[rule] not in _PAST:
            continue
        yield Missed(
            f"{times:,} so far",
            "rule",
            RULES[rule],
            rule.name,
            subject.origin(Verdict(Action.PASS, rule)),
        )
