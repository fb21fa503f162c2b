"""What the maps say of one pod besides its configuration."""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from sys import byteorder
from typing import Any

from beewire.bpf import Loaded, ntohs
from beewire.errors import MapError, MeshError
from beewire.mesh import events
from beewire.mesh.decision import Rule
from beewire.mesh.enrol.pod import words
from beewire.mesh.enrol.scene import IP
from beewire.mesh.programs import shadow, state, straight, transparent
from beewire.mesh.programs.addresses import AF_INET, AF_INET6, Endpoint
from beewire.mesh.programs.sockets import own_bit
from beewire.mesh.programs.state import Counts, Decision, PodAddress, PodState, Slot

# What the decision of each rule is called where there are no rules.
_PROXY = (Rule.OUT_PROXY, Rule.OUT_FROM_INBOUND)
_LOCAL = (Rule.OUT_LOCAL, Rule.OUT_LOOPBACK)
_SELF_CALL = (Rule.OUT_SELF_CALL, Rule.OUT_SELF_CALL_TPROXY)
_CAPTURED = (Rule.OUT_ALL_RANGES, Rule.OUT_INCLUDED_RANGE, Rule.OUT_INCLUDED_PORT)
_INBOUND = (Rule.IN_ALL_PORTS, Rule.IN_INCLUDED_PORT, Rule.IN_REROUTED)
_FIRST_INBOUND = Rule.IN_LOCAL
DECISIONS = {
    **{
        rule: Decision.OUTBOUND_EXCLUDED
        if rule < _FIRST_INBOUND
        else Decision.INBOUND_EXCLUDED
        for rule in Rule
    },
    **dict.fromkeys(_PROXY, Decision.OUTBOUND_PROXY),
    **dict.fromkeys(_LOCAL, Decision.OUTBOUND_LOCAL),
    **dict.fromkeys(_SELF_CALL, Decision.OUTBOUND_SELF_CALL),
    **dict.fromkeys(_CAPTURED, Decision.OUTBOUND_CAPTURED),
    Rule.OUT_DNS: Decision.DNS_CAPTURED,
    Rule.OUT_SPLICE: Decision.OUTBOUND_SPLICED,
    Rule.OUT_SHORTCUT: Decision.OUTBOUND_PROXY,
    Rule.IN_SPLICE: Decision.INBOUND_STRAIGHT,
    Rule.IN_SHORTCUT: Decision.INBOUND_STRAIGHT,
    **dict.fromkeys(_INBOUND, Decision.INBOUND_CAPTURED),
}

_FAMILIES = (AF_INET, AF_INET6)
Listening = tuple[int, int]  # address family, descriptor of a socket that listens


class Entries:
    """The entries of the pod whose namespace has the cookie `netns`."""

    def __init__(self, loaded: Loaded, netns: int) -> None:
        self.netns = netns
        self._loaded = loaded
        self._addresses: set[IP] = set()

    @property
    def pod(self) -> PodState | None:
        """What the programs know of the pod; None: it is closed."""
        return self._loaded[state.pods].get(self.netns)

    @pod.setter
    def pod(self, value: PodState) -> None:
        self._loaded[state.pods][self.netns] = value

    def begin(self) -> None:
        """Make room for it.

        Raises:
            MeshError: The node has no room for another pod.
        """
        try:
            self._loaded[state.alias_counts][self.netns] = 0
        except MapError as error:
            raise MeshError(
                f"there is no room for another pod on this node ({state.MAX_PODS} at"
                f" most): {error}"
            ) from error

    def set_addresses(self, wanted: Iterable[IP]) -> bool:
        """Make `wanted` the pod's own addresses; whether all of them are its alone.

        Raises:
            MeshError: The map is full.
        """
        own, owners = self._loaded[state.addresses], self._loaded[state.owners]
        alone = True
        for address in wanted:
            where = words(address)
            try:
                own[PodAddress(netns=self.netns, address=where)] = 1
                owners.insert(where, self.netns)
            except MapError as error:
                raise MeshError(f"the node's addresses are full: {error}") from error
            self._addresses.add(address)
            alone = owners.get(where) == self.netns and alone
        for address in self._addresses - set(wanted):
            self._drop_address(address)
        return alone

    def adopt(self) -> None:
        """Learn which addresses an earlier process has written."""
        self._addresses = {
            _address(key.address.to_bytes())
            for key in self._loaded[state.addresses]
            if key.netns == self.netns
        }

    def is_alone(self) -> bool:
        """Whether no other pod has one of its addresses."""
        owners = self._loaded[state.owners]
        return all(owners.get(words(each)) == self.netns for each in self._addresses)

    def set_listeners(self, port: int, listeners: Sequence[Listening]) -> None:
        """Put sockets that listen already on `port` (network order) into slots."""
        slots = {family: self._slots(port, family) for family in _FAMILIES}
        for family, sock in listeners:
            self._loaded[state.listeners][next(slots[family])] = sock

    def drop_listeners(self, port: int) -> None:
        """Empty the slots of `port` (network order)."""
        for family in _FAMILIES:
            for slot in self._slots(port, family):
                self._loaded[state.listeners].delete(slot)

    def _slots(self, port: int, family: int) -> Iterator[Slot]:
        for number in range(state.WORKERS):
            yield Slot(netns=self.netns, port=port, family=family, number=number)

    def end(self) -> None:
        """Delete everything; the pod is closed as long as programs are attached."""
        loaded, netns = self._loaded, self.netns
        if (pod := self.pod) is not None:
            self.drop_listeners(pod.settings.inbound_port)
        loaded[state.pods].delete(netns)
        for address in list(self._addresses):
            self._drop_address(address)
        if loaded[state.alias_counts].get(netns):
            delete_of(netns, loaded[state.aliases], loaded[state.originals])
        loaded[state.alias_counts].delete(netns)
        self._forget_straight()
        # Of connections on their way: nothing tells of their end any more.
        delete_of(netns, loaded[state.handshakes], loaded[transparent.own_calls])
        events.forget(loaded, netns)
        self.forget_compared()

    def _forget_straight(self) -> None:
        """Ways past sidecars that begin or end here, and what they carried."""
        loaded, netns = self._loaded, self.netns
        delete_of(netns, loaded[straight.ways], loaded[straight.l4_ports])
        ways = loaded[straight.ways]
        for key in [key for key, way in ways.items() if way.server == netns]:
            ways.delete(key)
        claims, traffic = loaded[straight.claims], loaded[straight.traffic]
        for ends in [ends for ends, one in claims.items() if one.client == netns]:
            claims.delete(ends)
        for pair in [pair for pair in traffic if netns in (pair.client, pair.server)]:
            traffic.delete(pair)

    def forget_compared(self) -> None:
        """Begin anew to compare with what Istio's rules do."""
        delete_of(self.netns, self._loaded[shadow.outcomes])

    def _drop_address(self, address: IP) -> None:
        where = words(address)
        self._loaded[state.addresses].delete(
            PodAddress(netns=self.netns, address=where)
        )
        if self._loaded[state.owners].get(where) == self.netns:
            self._loaded[state.owners].delete(where)
        self._addresses.discard(address)

    # What has happened so far.

    @property
    def _counts(self) -> Counts:
        if (pod := self.pod) is None:
            return Counts()
        return self._loaded[state.counts][pod.number]

    def rules(self) -> dict[Rule, int]:
        """How often each rule decided; those that never did are left out."""
        rules = self._counts.rules
        return {rule: rules[rule] for rule in Rule if rules[rule]}

    def decisions(self) -> dict[Decision, int]:
        """How often each decision was taken."""
        counted = self._counts.decisions
        found = {decision: counted[decision] for decision in Decision}
        for rule, times in self.rules().items():
            found[DECISIONS[rule]] += times
        # What the sidecar was to have and did not take is no capture.
        refused = found[Decision.INBOUND_REFUSED]
        captured = found[Decision.INBOUND_CAPTURED]
        found[Decision.INBOUND_CAPTURED] = max(0, captured - refused)
        return found

    def handshakes(self) -> int:
        """How many redirected connections without alias are being set up now."""
        return sum(each.netns == self.netns for each in self._loaded[state.handshakes])

    def own_calls(self) -> int:
        """How many calls to the application its sidecar has open in its clients' names."""
        open_calls = self._loaded[transparent.own_calls]
        return sum(each.netns == self.netns for each in open_calls)

    def aliases(self) -> dict[str, str]:
        """Which destination each alias stands for, as "127.65.1.2": "10.0.0.1:80"."""
        return {
            str(IPv4Address(alias.ip.to_bytes(4, byteorder))): _text(destination)
            for alias, destination in self._loaded[state.originals].items()
            if alias.netns == self.netns
        }

    def listeners(self) -> int:
        """How many of the sidecar's inbound listeners are known."""
        return sum(slot.netns == self.netns for slot in self._loaded[state.listeners])


def own_bits(addresses: Iterable[IP]) -> int:
    """`PodState.own_bits` of these addresses."""
    bits = 0
    for address in addresses:
        bits |= own_bit(words(address).words[3])
    return bits


def delete_of(netns: int, *tables: Any) -> None:
    """Delete the entries of a namespace: those whose keys have its cookie as `netns`."""
    # Any: maps of different keys, which all have the cookie.
    for table in tables:
        for key in [key for key in table if key.netns == netns]:
            table.delete(key)


def _address(packed: bytes) -> IP:
    address = IPv6Address(packed)
    return address.ipv4_mapped or address


def _text(destination: Endpoint) -> str:
    address = IPv4Address(destination.address.to_bytes()[-4:])
    return f"{address}:{ntohs(destination.port)}"
