"""Explain a connection that was made: what the programs kept in its socket.

Nothing is decided again. The verdict, the configuration that it was made by, and what was
dialled stand in the storage of the socket that dialled; what the sidecar was handed, or
what was decided about a connection from outside, in that of the socket that was accepted.
What a socket shows of itself is asked of the
kernel, through the same hooks that answer its owner.
"""

import contextlib
import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from sys import byteorder
from typing import Any, NamedTuple

from beewire.bpf import ntohs
from beewire.errors import KernelError, MapError, MeshError
from beewire.mesh.decision import TCP, UDP, Action, Rule, Verdict
from beewire.mesh.explain import ways
from beewire.mesh.explain.explanation import Explanation, Step
from beewire.mesh.explain.hypothetical import SHADOW, counts
from beewire.mesh.explain.past import RULES_PAST
from beewire.mesh.explain.past import steps as steps_past
from beewire.mesh.explain.question import IP, ended
from beewire.mesh.explain.subject import Subject
from beewire.mesh.explain.words import ACTIONS, RULES
from beewire.mesh.programs import state
from beewire.mesh.programs.addresses import Endpoint
from beewire.mesh.programs.decision import action_of, rule_of

SO_ORIGINAL_DST = 80  # IP6T_SO_ORIGINAL_DST is the same number
_LOOPBACK = "it was accepted over the loopback network, of which nothing is decided"
_NOBODY = (
    "it was connected before the pod was enrolled, or is none of the pod's; of accepted"
    " connections that shake hands at one time, one may keep nothing"
)
_SOCKADDR = {socket.AF_INET: 16, socket.AF_INET6: 28}


class Stored(NamedTuple):
    """What the programs kept of one socket. Ends are addresses and ports.

    `dialled` and `target` are what its owner dialled and what that was rewritten to;
    `target` is None where the connection was left alone. `config` is the id of the
    configuration that decided, `current` the one that the pod has now. `came` says that
    the socket was accepted, and the verdict is on the connection from outside. `arrived` is
    what the sidecar's accepted socket was handed; `asked` is the resolver that a socket asked
    last without connecting, `waiting` how many answers have not come.
    """

    dialled: tuple[IP, int] | None
    target: str
    action: Action
    rule: Rule
    config: int
    current: int
    came: bool
    arrived: tuple[IP, int] | None
    asked: tuple[IP, int] | None
    waiting: int


def stored_in(subject: Subject, fd: int) -> Stored:
    """Read the storage of the socket behind `fd`, by map look-ups.

    Raises:
        MeshError: no programs are loaded on this node.
    """
    if subject.node is None:
        raise MeshError("no programs of Beewire are loaded here: nothing is kept")
    loaded = subject.node.loaded
    kept = _held(loaded[state.dialled], fd)
    came = _held(loaded[state.came], fd) if kept is None else None
    decided = kept or came
    handed = _held(loaded[state.arrived], fd)
    queried = _held(loaded[state.asked], fd)
    pod = loaded[state.pods].get(subject.netns)
    target = ""
    if kept is not None and kept.target_port:
        target = _target(kept, subject)
    return Stored(
        dialled=None if kept is None else _end(kept.wanted),
        target=target,
        action=Action(action_of(decided.verdict)) if decided else Action.PASS,
        rule=Rule(rule_of(decided.verdict)) if decided else Rule.UNDECIDED,
        config=decided.config if decided else 0,
        current=0 if pod is None else pod.config,
        came=came is not None,
        arrived=None if handed is None else _end(handed),
        asked=None if queried is None else _end(queried.wanted),
        waiting=0 if queried is None else queried.waiting,
    )


def _held(storage: Any, fd: int) -> Any:
    # Any: storage of different values.
    with contextlib.suppress(KeyError, MapError, KernelError):
        return storage[fd]
    return None


def _end(endpoint: Endpoint) -> tuple[IP, int]:
    return _plain(IPv6Address(endpoint.address.to_bytes())), ntohs(endpoint.port)


def _target(kept: state.Dialled, subject: Subject) -> str:
    # The last word is kept; of IPv6 it is that of ::1, or of one of the pod's own.
    word, port = kept.target.to_bytes(4, byteorder), ntohs(kept.target_port)
    if _end(kept.wanted)[0].version == 4:
        return ended(IPv4Address(word), port)
    own = (each for each in subject.addresses if each.packed[-4:] == word)
    last = IPv6Address("::1")
    return ended(next((a for a in own if a.version == 6 and a != last), last), port)


def explain_socket(subject: Subject, fd: int, connected: str = "") -> Explanation:
    """Explain the socket behind `fd`, a descriptor of this process.

    `connected` is where the kernel's table says that it is connected, whatever it shows.

    Raises:
        MeshError: no programs are loaded, or it is no socket of IP.
    """
    try:
        copy = socket.socket(fileno=socket.dup(fd))
    except OSError as error:
        raise MeshError(f"descriptor {fd} is no socket: {error.strerror}") from error
    with copy:
        if copy.family not in _SOCKADDR:
            raise MeshError(
                f"descriptor {fd} is no socket of IP, but {copy.family.name}"
            )
        return _explain(subject, copy, stored_in(subject, fd), connected)


def _explain(
    subject: Subject, sock: socket.socket, kept: Stored, connected: str
) -> Explanation:
    protocol = TCP if sock.type == socket.SOCK_STREAM else UDP
    shown, local = _name(sock, "getpeername"), _name(sock, "getsockname")
    name = "tcp" if protocol == TCP else "udp"
    if kept.came:
        steps = ways.inbound(subject, kept.action, local)
        return _decided(subject, kept, f"{name} {shown} -> {local}", "", steps)
    head = f"{name} {local}" + (f" -> {shown}" if shown else "")
    if kept.dialled is None:
        return _accepted(subject, sock, kept, head, connected)
    if kept.rule in RULES_PAST.values():
        target = connected or ended(*kept.dialled)
        steps = steps_past(subject, kept.rule, kept.dialled, target)
    else:
        target = kept.target or connected
        steps = ways.outbound(subject, kept.action, kept.dialled, target)
    told = _decided(subject, kept, head, kept.target, steps)
    return told._replace(notes=(*_connected(connected), *told.notes))


def _decided(
    subject: Subject, kept: Stored, head: str, target: str, steps: list[Step]
) -> Explanation:
    # By the verdict that the socket holds.
    same = kept.config == kept.current
    notes = [SHADOW] if subject.is_shadow else []
    if not same:
        notes.append(
            f"configuration {kept.config} decided; the pod has configuration"
            f" {kept.current} now"
        )
    port = ways.listener_port(subject, kept.action)
    outcome = ACTIONS[kept.action]
    return Explanation(
        pod=subject.name,
        connection=head,
        live=True,
        action=kept.action.name,
        outcome=f"{outcome}, at {target}" if port and target else outcome,
        rule=kept.rule.name,
        number=int(kept.rule),
        because=RULES[kept.rule],
        matched="",
        origin=subject.origin(Verdict(kept.action, kept.rule))
        if same
        else f"an earlier configuration (id {kept.config})",
        steps=tuple(steps),
        counts=counts(subject, kept.rule),
        notes=tuple(notes),
    )


def _connected(where: str) -> list[str]:
    return [f"the kernel's table says it is connected to {where}"] if where else []


def _accepted(
    subject: Subject, sock: socket.socket, kept: Stored, head: str, connected: str
) -> Explanation:
    # Nothing was dialled by this socket: the sidecar accepted it, or nobody saw it.
    told = "" if sock.type == socket.SOCK_DGRAM else _original(sock)
    steps: list[Step] = []
    rule, because = Rule.UNDECIDED, "nothing is kept in this socket"
    outcome = "no program saw it being made"
    if kept.arrived is not None:
        outcome = "handed over to the sidecar, with what was dialled"
        because = f"the socket that dialled handed over {ended(*kept.arrived)}"
        steps = [ways.step(subject, "handover", because)]
    elif kept.asked is not None:
        outcome = f"asked {ended(*kept.asked)} last, {kept.waiting} answers to come"
        because = "a query of a socket that is not connected is decided by itself"
        target = ways.target_of(subject, Action.TO_DNS, kept.asked)
        steps = ways.query(subject, Action.TO_DNS, kept.asked, target)
    elif told:
        outcome = "the sidecar accepted it"
        because = f"its own address says where it was going: {told}"
    if told:
        steps.append(ways.step(subject, "original", f"answers SO_ORIGINAL_DST: {told}"))
    notes = _connected(connected)
    if not (told or steps):
        notes.append(_LOOPBACK if _is_loopback(sock) else _NOBODY)
    return Explanation(
        pod=subject.name,
        connection=head,
        live=True,
        action=_seen(kept, told),
        outcome=outcome,
        rule=rule.name,
        number=int(rule),
        because=because,
        matched="",
        origin="",
        steps=tuple(steps),
        counts={},
        notes=tuple(notes),
    )


def _seen(kept: Stored, told: str) -> str:
    if kept.asked is not None:
        return Action.TO_DNS.name
    return "ACCEPTED" if told else "UNSEEN"


def _name(sock: socket.socket, which: str) -> str:
    found = _address(sock, which)
    return ended(*found) if found else ""


def _address(sock: socket.socket, which: str) -> tuple[IP, int] | None:
    try:
        host, port = getattr(sock, which)()[:2]
    except OSError:
        return None
    return _plain(ip_address(host.partition("%")[0])), port


def _is_loopback(sock: socket.socket) -> bool:
    peer = _address(sock, "getpeername")
    return peer is not None and peer[0].is_loopback


def _plain(address: IP) -> IP:
    return getattr(address, "ipv4_mapped", None) or address


def _original(sock: socket.socket) -> str:
    level = socket.SOL_IP if sock.family == socket.AF_INET else socket.IPPROTO_IPV6
    try:
        told = sock.getsockopt(level, SO_ORIGINAL_DST, _SOCKADDR[sock.family])
    except OSError:
        return ""
    (port,) = struct.unpack_from("!H", told, 2)
    if sock.family == socket.AF_INET:
        return ended(IPv4Address(told[4:8]), port)
    return ended(_plain(IPv6Address(told[8:24])), port)
