"""Matches and targets, whatever the notation of the rules they were written in."""

from collections.abc import Sequence
from ipaddress import ip_network

from beewire.mesh.parity.oracle import Match, Target, Verdict, Walk

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "ipv6-icmp": 58, "sctp": 132}
ALL_BITS = 0xFFFFFFFF

ACCEPT = Target(lambda _: Verdict.ACCEPT, settles=True)
DROP = Target(lambda _: Verdict.DROP, settles=True)
RETURN = Target(lambda _: Verdict.RETURN, settles=True)
COUNT = Target(lambda _: None)  # a rule without verdict


def negated(match: Match) -> Match:
    """The opposite of a condition."""
    return match._replace(test=lambda walk: not match.test(walk))


def protocol(number: int) -> Match:
    """The packet's protocol is `number`."""
    return Match("protocol", (number,), lambda walk: walk.protocol == number)


def address(field: str, text: str) -> Match:
    """The packet's `source` or `destination` lies in the range `text`.

    Raises:
        ValueError: It is no range of addresses.
    """
    network = ip_network(text, strict=False)
    low, mask = int(network.network_address), int(network.netmask)

    def source(walk: Walk) -> bool:
        return walk.source & mask == low

    def destination(walk: Walk) -> bool:
        return walk.destination & mask == low

    test = source if field == "source" else destination
    ends = (low, int(network.broadcast_address))
    return Match(field, ends, test)


def interface(field: str, name: str) -> Match:
    """`in_interface` or `out_interface` has a name, or one that begins so (`eth+`)."""

    def begins(walk: Walk) -> bool:
        found: str = getattr(walk, field)
        return found.startswith(name[:-1])

    def came_by(walk: Walk) -> bool:
        return walk.in_interface == name

    def leaves_by(walk: Walk) -> bool:
        return walk.out_interface == name

    exact = came_by if field == "in_interface" else leaves_by
    test = begins if name.endswith("+") else exact
    return Match(field, (name.rstrip("+"),), test)


def ports(field: str, ranges: Sequence[tuple[int, int]]) -> Match:
    """`source_port` or `destination_port` lies in one of `ranges`, ends included."""
    singles = frozenset(low for low, high in ranges if low == high)
    wide = tuple(each for each in ranges if each[0] != each[1])
    only = next(iter(singles)) if len(singles) == 1 and not wide else None

    def source(walk: Walk) -> bool:
        return covers(walk.source_port)

    def destination(walk: Walk) -> bool:
        return covers(walk.destination_port)

    def is_only(walk: Walk) -> bool:
        return walk.destination_port == only

    def covers(port: int) -> bool:
        return port in singles or any(low <= port <= high for low, high in wide)

    test = source if field == "source_port" else destination
    if only is not None and field == "destination_port":
        test = is_only
    ends = tuple({end for each in ranges for end in each})
    return Match(field, ends, test)


def owner(field: str, low: int, high: int) -> Match:
    """The socket's `uid` or `gid` lies in a range; a packet without socket has neither.

    Negated, it holds for those packets (xt_owner: `info->match ^ info->invert`).
    """

    def uid(walk: Walk) -> bool:
        return walk.uid is not None and low <= walk.uid <= high

    def gid(walk: Walk) -> bool:
        return walk.gid is not None and low <= walk.gid <= high

    test = uid if field == "uid" else gid
    return Match(field, tuple({low, high}), test)


def state(names: Sequence[str]) -> Match:
    """Conntrack's state is one of `names`."""
    wanted = frozenset(names)
    return Match("state", tuple(names), lambda walk: walk.state in wanted)


def mark(field: str, value: int, mask: int) -> Match:
    """The packet's `mark`, or its connection's `connmark`."""

    def of_packet(walk: Walk) -> bool:
        return walk.mark & mask == value

    def of_connection(walk: Walk) -> bool:
        return walk.connmark & mask == value

    test = of_packet if field == "mark" else of_connection
    return Match(field, (value,), test)


def jump(chain: str) -> Target:
    """Go through the rules of `chain`, then on with the next rule."""
    return Target(chain=chain)


def redirect(low: int) -> Target:
    """To a port of this machine; of a range of them, its first."""

    def act(walk: Walk) -> Verdict:
        walk.redirected = low
        return Verdict.ACCEPT

    return Target(act, settles=True, redirects=True)


def tproxy(port: int, value: int, mask: int) -> Target:
    """To a socket of this machine, the packet's address as it is."""

    def act(walk: Walk) -> Verdict:
        walk.mark = (walk.mark & ~mask) ^ value
        walk.taken = port
        return Verdict.ACCEPT

    return Target(act, settles=True, redirects=True)


def set_mark(value: int, mask: int = ALL_BITS) -> Target:
    """Mark the packet."""

    def act(walk: Walk) -> None:
        walk.mark = (walk.mark & ~mask) ^ value

    return Target(act)


def save_mark() -> Target:
    """The connection gets the packet's mark."""

    def act(walk: Walk) -> None:
        walk.connmark = walk.mark

    return Target(act)


def restore_mark() -> Target:
    """The packet gets its connection's mark."""

    def act(walk: Walk) -> None:
        walk.mark = walk.connmark

    return Target(act)


def zone(number: int) -> Target:
    """Conntrack keeps the packet's connection in a zone of its own."""

    def act(walk: Walk) -> None:
        walk.zone = number

    return Target(act)
