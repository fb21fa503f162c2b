"""Where Beewire decides otherwise than Istio's rules, on purpose.

Each of these differences has a name, is explained, and is counted whenever it is seen. An
explanation holds for one packet only if the rules, asked about the packet that the
explanation speaks of, decide as Beewire does: it cannot cover up another difference.
"""

from typing import NamedTuple

from beewire.mesh.config import InterceptionMode, PodConfig, ProxyIdentity
from beewire.mesh.decision import NO_OWNER, Connection, State


class Delta(NamedTuple):
    """One difference that is meant."""

    name: str
    text: str


BY_CGROUP = Delta(
    "sidecar-by-cgroup",
    "Istio knows its sidecar by user and group, which an application may have as well;"
    " Beewire by the cgroup that the sidecar runs in (proxy_identity)",
)
INVALID = Delta(
    "invalid-packets",
    "packets that conntrack cannot place are dropped by drop_invalid, and taken by TPROXY;"
    " they begin no connection, and TCP itself discards what lies outside of its window",
)
NFT_FAMILY = Delta(
    "nft-shares-families",
    "in Istio's nft form IPv4 and IPv6 share tables: rules without an address hold for"
    " IPv6 even where it is not enabled; in iptables there are none then",
)
NFT_SOCKET = Delta(
    "nft-without-socket",
    "of a packet without socket nft knows no owner, and skips rules on owners, `!=`"
    " included; iptables takes it for nobody's",
)
DELTAS = (BY_CGROUP, INVALID, NFT_FAMILY, NFT_SOCKET)

# Owners of the sidecar that the rules do not mention otherwise.
_NEITHER = 4_000_000_000


def explained(
    config: PodConfig, connection: Connection, *, by_nft: bool = False
) -> tuple[Delta, Connection | None] | None:
    """Return the delta that a difference may be due to, and what to ask the rules then.

    None if there is none. For INVALID packets the rules are asked as of any packet that
    does not begin a connection. Of rules that should not be there nothing can be asked.
    """
    if by_nft and connection.destination.version == 6 and not config.enable_ipv6:
        return NFT_FAMILY, None
    if connection.state is State.INVALID:
        return INVALID, connection._replace(state=State.ESTABLISHED)
    if config.proxy_identity is ProxyIdentity.CGROUP:
        aligned = _owned(_aligned(config, connection), by_nft=by_nft)
        if aligned != connection:
            return BY_CGROUP, aligned
    owned = _owned(connection, by_nft=by_nft)
    return (NFT_SOCKET, owned) if owned != connection else None


def _owned(connection: Connection, *, by_nft: bool) -> Connection:
    # As if a socket of nobody's had sent it.
    if not by_nft:
        return connection
    uid, gid = connection.uid, connection.gid
    return connection._replace(
        uid=_NEITHER if uid == NO_OWNER else uid,
        gid=_NEITHER if gid == NO_OWNER else gid,
    )


def _aligned(config: PodConfig, connection: Connection) -> Connection:
    # As if the sidecar's cgroup and its owners were the same sockets.
    if connection.in_proxy:
        if not config.proxy_gid:
            return connection._replace(uid=config.proxy_uid[0])
        # Under TPROXY Istio has its sidecar run as root.
        tproxy = config.inbound_interception_mode is InterceptionMode.TPROXY
        uid = _NEITHER if tproxy else config.proxy_uid[0]
        return connection._replace(uid=uid, gid=config.proxy_gid[0])
    uid, gid = connection.uid, connection.gid
    if uid in config.proxy_uid:
        uid = _NEITHER
    if gid in config.proxy_gid and gid != NO_OWNER:
        gid = _NEITHER
    return connection._replace(uid=uid, gid=gid)
