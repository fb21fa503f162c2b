"""What open connections past sidecars have carried so far, on TCP and on the short path."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from beewire.errors import MeshError
from beewire.mesh.agent.records import PodRecord
from beewire.mesh.agent.view import NetworkView
from beewire.mesh.bypass import connections
from beewire.mesh.enrol import Node
from beewire.mesh.sidecar.reasons import Place
from beewire.mesh.straight import Passing


class Bytes(NamedTuple):
    """What a connection's client has sent and received."""

    sent: int = 0
    received: int = 0


def so_far(
    node: Node, passing: Iterable[Passing], records: Iterable[PodRecord]
) -> dict[int, Bytes]:
    """By the cookie of the socket that dialled; of those that are open, and still there."""
    found = [each for each in passing if each.is_open]
    if not found:
        return {}
    by_tcp = _by_tcp(found, records)
    by_ends = {(each.local, each.remote): each for each in connections(node.short_path)}
    told = {}
    for each in found:
        sent, received = by_tcp.get(each.cookie, Bytes())
        source, target = _text(each.source), _text(each.target)
        near, far = by_ends.get((source, target)), by_ends.get((target, source))
        told[each.cookie] = Bytes(
            sent + (near.short_bytes if near else 0),
            received + (far.short_bytes if far else 0),
        )
    return told


def _by_tcp(
    passing: Iterable[Passing], records: Iterable[PodRecord]
) -> dict[int, Bytes]:
    clients = {each.client for each in passing}
    found: dict[int, Bytes] = {}
    for record in records:
        if int(record.id) not in clients:
            continue
        try:
            with NetworkView(Path(record.netns)) as view:
                for cookie, sent, received in view.carried():
                    found[cookie] = Bytes(sent, received)
        except MeshError:  # it is gone
            continue
    return found


def _text(place: Place) -> str:
    address, port = place
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
