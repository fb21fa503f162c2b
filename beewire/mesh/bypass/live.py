"""The connections that are there, as the programs and TCP have counted them."""

from ipaddress import IPv6Address
from typing import NamedTuple

from beewire.bpf import ntohs
from beewire.mesh.bypass.words import REASONS
from beewire.mesh.enrol import ShortPath
from beewire.mesh.programs.addresses import Address
from beewire.mesh.programs.bypass import state
from beewire.mesh.programs.bypass.live import Row
from beewire.mesh.programs.bypass.state import Mode, Role, Tier, Why

_TCP_CLOSE = 7


class Connection(NamedTuple):
    """One end of a connection that was considered for the short path.

    `netns` and `peer_netns` are cookies of network namespaces, the second 0 as long as
    the other end is unknown. `tier` is the pod's. `mode` says where the last message went,
    `reason` why it went by TCP ("" where it did not), `is_final` whether no later one can
    go elsewhere. `short_bytes` and `short_messages` were sent by the short path, `turns`
    is how often it changed to or from it; `tcp_bytes` and `tcp_segments` were sent by TCP,
    once each, and `received_bytes` came by TCP. `waits`: messages that came by the short
    path wait for this end's owner to read them.
    """

    netns: int
    tier: Tier
    role: Role
    local: str
    remote: str
    dialled: bool
    peer_netns: int
    peer_role: Role
    mode: Mode
    why: Why
    short_bytes: int
    short_messages: int
    tcp_bytes: int
    tcp_segments: int
    received_bytes: int
    turns: int
    waits: bool

    @property
    def reason(self) -> str:
        """Why the last message went by TCP; "" where it took the short path."""
        return REASONS[self.why]

    @property
    def is_final(self) -> bool:
        """Whether all its messages go by TCP, for good."""
        return self.why >= Why.UNMET


def connections(short_path: ShortPath, netns: int = 0) -> list[Connection]:
    """What is there of all pods, or of the one whose namespace has the cookie `netns`.

    Each end that was considered is one of its own: two of a connection on the short path,
    the end that dialled where it never got there. None where no pod has wanted a tier.

    Raises:
        KernelError: The kernel refuses to list them.
    """
    if (loaded := short_path.found()) is None:
        return []
    tiers = {key: Tier(known.tier) for key, known in loaded[state.tiers].items()}
    return [
        _connection(row, tiers.get(row.flow.own.netns, Tier.OFF))
        for row in short_path.rows()
        if row.state != _TCP_CLOSE and netns in (0, row.flow.own.netns)
    ]


def _connection(row: Row, tier: Tier) -> Connection:
    flow = row.flow
    return Connection(
        netns=flow.own.netns,
        tier=tier,
        role=Role(flow.role),
        local=_endpoint(flow.own.local, flow.own.local_port),
        remote=_endpoint(flow.own.remote, flow.own.remote_port),
        dialled=bool(flow.dialled),
        peer_netns=flow.peer.netns,
        peer_role=Role(flow.peer_role),
        mode=Mode(flow.mode),
        why=Why(flow.why),
        short_bytes=flow.short_bytes,
        short_messages=flow.short_messages,
        tcp_bytes=row.sent,
        tcp_segments=row.segments_out,
        received_bytes=row.received,
        turns=flow.turns,
        waits=bool(row.waits),
    )


def _endpoint(address: Address, port: int) -> str:
    whole = IPv6Address(address.to_bytes())
    mapped = whole.ipv4_mapped
    host = f"[{whole}]" if mapped is None else str(mapped)
    return f"{host}:{ntohs(port)}"
