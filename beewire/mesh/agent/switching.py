"""Shadow mode on a node: what was compared, cutover, rollback, and who is older."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from beewire.errors import MeshError
from beewire.mesh import shadow
from beewire.mesh.agent import older, records
from beewire.mesh.agent.operations import Operations
from beewire.mesh.agent.records import ENROLLED, PodRecord
from beewire.mesh.agent.settings import config_of
from beewire.mesh.agent.view import (
    CLOSE,
    ESTABLISHED,
    LISTEN,
    TCP,
    TIME_WAIT,
    UDP,
    NetworkView,
    SocketState,
)
from beewire.mesh.config import PodConfig
from beewire.mesh.decision import DNS_PORT
from beewire.mesh.shadow import PodMode, Switched

_AT_REST = (LISTEN, TIME_WAIT, CLOSE)
_ISTIO = frozenset(("127.0.0.1", "::1"))  # where REDIRECT sends
_ACTING = "acting"
_TOLD = 5  # connections that an error names


def compared(pods: Operations, name: str, *, forget: bool = False) -> dict[str, Any]:
    """What was compared in a pod so far, as JSON; with `forget`, from now on anew.

    Raises:
        MeshError: there is no such pod.
    """
    with pods.alone() as node:
        record = _enrolled(pods, name)
        with pods.found(node, record) as enrolment:
            if forget:
                enrolment.forget_compared()
            mode, rules_act = shadow.state_of(enrolment, enrolment.pod.netns)
            told = _told(record, shadow.read(node.loaded, enrolment.netns))
    return {**told, "mode": _said(mode), "rules_act": rules_act}


def cutover(pods: Operations, name: str, least: int) -> dict[str, Any]:
    """Let Beewire act in the place of Istio's rules, as JSON.

    Raises:
        MeshError: `shadow.cutover` says when; nothing has changed.
    """
    with pods.alone() as node:
        record = _enrolled(pods, name)
        config = config_of(record.config, record.addresses)
        with NetworkView(Path(record.netns)) as view:
            before = {each.cookie for each in redirected(view.sockets(), config)}
            # First: whoever withdraws the pod has to know that rules are passed over.
            started = record.but(
                cut_over_at=record.cut_over_at or time.time(), shadow=False
            )
            records.write(pods.directories, started)
            try:
                with pods.found(node, record) as enrolment:
                    done = shadow.cutover(
                        enrolment, node.loaded, Path(record.netns), least=least
                    )
            except BaseException:
                records.write(pods.directories, record)
                raise
            if done.changed:
                now = [*redirected(view.sockets(), config), *queries(view)]
                made = [
                    each.cookie
                    for each in now
                    if each.cookie in before or not _is_ambiguous(each)
                ]
                started = started.but(redirected=tuple(made))
                records.write(pods.directories, started)
            count = still_there(view, started)
    if done.changed:
        pods.log(f"{record.name}: cut over; {count} connections are older")
    return {**_told(record, done.report), **_switched(done), "older": count}


def rollback(pods: Operations, name: str) -> dict[str, Any]:
    """Let Istio's rules act in the place of Beewire, as JSON.

    Raises:
        MeshError: `shadow.rollback` says when.
    """
    with pods.alone() as node:
        record = _enrolled(pods, name)
        if record.finishing:
            raise MeshError(
                f"some of Istio's rules in {record.name} are removed: `beewire mesh cutover"
                f" {record.name} --finish` removes the others"
            )
        config = config_of(record.config, record.addresses)
        netns = Path(record.netns)
        with NetworkView(netns) as view, pods.found(node, record) as enrolment:
            done = shadow.rollback(enrolment, node.loaded, netns)
            count = len(list(captured(view.sockets(), config)))
        back = record.but(cut_over_at=0.0, redirected=(), shadow=True)
        records.write(pods.directories, back)
    if done.changed:
        pods.log(f"{record.name}: rolled back")
    return {**_told(record, done.report), **_switched(done), "older": count}


def finish(pods: Operations, name: str) -> dict[str, Any]:
    """Remove the rules that cutover has passed over, as JSON; there is no way back.

    Raises:
        MeshError: a connection goes by them yet, or `shadow.finish` says why not; nothing
            has changed.
    """
    with pods.alone() as node:
        record = _enrolled(pods, name)
        config = config_of(record.config, record.addresses)
        netns = Path(record.netns)
        with NetworkView(netns) as view, pods.found(node, record) as enrolment:
            if enrolment.mode is not PodMode.SHADOW:
                _check_over(view, record, config)
            shadow.check_finish(enrolment, netns)
            # First: with half of the rules nobody may go back to them.
            records.write(pods.directories, record.but(finishing=True))
            removed = shadow.finish(enrolment, netns)
        done = record.but(cut_over_at=0.0, redirected=(), finishing=False)
        records.write(pods.directories, done)
    pods.log(f"{record.name}: {removed} rules of Istio's removed")
    return {
        "name": record.name,
        "id": record.id,
        "removed": removed,
        "mode": _ACTING,
        "rules_act": False,
    }


def _check_over(view: NetworkView, record: PodRecord, config: PodConfig) -> None:
    # No connection goes by the rules any more.
    left = {each.cookie: each for each in _living(view, record)}
    for each in redirected(view.sockets(), config):
        if not _is_ambiguous(each):
            left[each.cookie] = each
    if not left:
        return
    error = MeshError(
        f"{len(left)} of {record.name}'s connections go by Istio's rules yet, and would be"
        " reset without them: do it again when they have ended"
    )
    for each in list(left.values())[:_TOLD]:
        error.add_note(older.text_of(each))
    raise error


def still_there(view: NetworkView, record: PodRecord) -> int:
    """How many connections that Istio's rules redirected before cutover are still open."""
    return len(_living(view, record))


def _living(view: NetworkView, record: PodRecord) -> list[SocketState]:
    known = set(record.redirected)
    return [
        each
        for protocol in ((TCP, UDP) if known else ())
        for each in view.sockets(protocol)
        if each.cookie in known and each.state not in _AT_REST
    ]


def redirected(
    sockets: Iterable[SocketState], config: PodConfig
) -> Iterable[SocketState]:
    """The sidecar's ends of connections that Istio's rules have redirected.

    Their own port is a listener's. Beewire's have that port, too, where it sends what the
    pod dials, but at addresses that the rules do not use; a pod that acted before there
    were rules may have some at ::1.
    """
    for each in sockets:
        if each.state in _AT_REST:
            continue
        if each.local_port == config.inbound_capture_port:
            if not each.local.is_loopback:
                yield each
        elif each.local_port == config.proxy_port:
            plain = getattr(each.local, "ipv4_mapped", None) or each.local
            if str(plain) in _ISTIO:
                yield each


def captured(
    sockets: Iterable[SocketState], config: PodConfig
) -> Iterable[SocketState]:
    """The sidecar's ends of connections that Beewire has captured on their way out."""
    for each in sockets:
        plain = getattr(each.local, "ipv4_mapped", None) or each.local
        if (
            each.state not in _AT_REST
            and each.local_port == config.proxy_port
            and str(plain) not in _ISTIO
        ):
            yield each


def queries(view: NetworkView) -> Iterable[SocketState]:
    """Sockets that are connected to a resolver, whose queries a rule still redirects."""
    for each in view.sockets(UDP):
        if each.state == ESTABLISHED and each.remote_port == DNS_PORT:
            yield each


def _is_ambiguous(each: SocketState) -> bool:
    return each.local.version == 6 and each.local.is_loopback


def _enrolled(pods: Operations, name: str) -> PodRecord:
    record = records.get(pods.directories, name)
    if record.state != ENROLLED:
        raise MeshError(f"{record.name} is not enrolled yet: its namespace is closed")
    return record


def _told(record: PodRecord, report: shadow.Report) -> dict[str, Any]:
    config = config_of(record.config, record.addresses)
    netns = Path(record.netns)
    return {
        "name": record.name,
        "id": record.id,
        **shadow.as_json(report, config),
        "disagreements": [
            shadow.disagreement_text(row, config, netns) for row in report.disagreements
        ],
    }


def _said(mode: PodMode) -> str:
    return "shadow" if mode is PodMode.SHADOW else _ACTING


def _switched(done: Switched) -> dict[str, Any]:
    return {
        "changed": done.changed,
        "mode": _said(done.mode),
        "rules_act": done.mode is PodMode.SHADOW,
        "rules": done.rules,
    }
