"""The decision: what happens to a connection, by the rules that Istio would write.

One function over explicit values, so that hooks and tests ask the same one. It mirrors
`beewire.mesh.decision`, rule by rule, and names the rule that decided by the same number.
"""

from beewire.bpf import Struct, htonl, htons, ip4, subprogram, u8, u32
from beewire.mesh.decision.vocabulary import (
    DNS_PORT,
    SIDECAR_CALL_MARK,
    TCP,
    UDP,
    Action,
    Rule,
)
from beewire.mesh.programs.addresses import Address
from beewire.mesh.programs.lists import LIST_BITS, covers, has
from beewire.mesh.programs.state import Config, ConfigFlag, Listed

ACTION_SHIFT = 8
RULE_MASK = 0xFF
DNS = htons(DNS_PORT)
SOME_INBOUND_PORTS = 1 << (LIST_BITS + Listed.INCLUDED_INBOUND_PORTS)
SOME_OWNERS = 1 << (LIST_BITS + Listed.PROXY_UIDS) | 1 << (
    LIST_BITS + Listed.PROXY_GIDS
)
LO = 1  # the loopback interface's index, in every namespace
INBOUND_SOURCE4 = ip4("127.0.0.6")  # what the sidecar binds to when it calls the app
INBOUND_SOURCE6 = htonl(6)  # the last word of ::6
LOCALHOST4 = ip4("127.0.0.1")  # where REDIRECT sends this machine's connections
LOCALHOST6 = htonl(1)

NOBODY = 0  # owners of a connection
SIDECAR_USER = 1  # or cgroup
SIDECAR_GROUP = 2


class Flow(Struct):
    """A connection, as its first packet would look.

    `owner` is the id of the configuration; `scope` and `scope_flags` are the pod's.
    `destination` is an address that connect(2) means: 0.0.0.0 has been replaced. `port`
    is in network order, `interface` 0 when it is not known. `local` is 1 for what goes by
    the loopback interface, `in_proxy` for what the sidecar's cgroup sends.
    """

    owner: u32 = 0
    scope: u32 = 0
    scope_flags: u32 = 0
    protocol: u8 = 0
    ipv6: u8 = 0
    local: u8 = 0
    in_proxy: u8 = 0
    port: u32 = 0
    uid: u32 = 0
    gid: u32 = 0
    interface: u32 = 0
    mark: u32 = 0
    source: Address = Address()
    destination: Address = Address()


def settled(action: u32, rule: u32) -> u32:
    """A verdict: what happens, and what decided."""
    return action << ACTION_SHIFT | rule


def action_of(verdict: u32) -> u32:
    """What happens (`Action`)."""
    return verdict >> ACTION_SHIFT


def rule_of(verdict: u32) -> u32:
    """What decided (`Rule`)."""
    return verdict & RULE_MASK


def is_loopback(config: Config, flow: Flow, address: Address) -> bool:
    """Whether Istio takes an address for loopback; of IPv6 there is one."""
    if flow.ipv6 != 0:
        if address.words[0] | address.words[1] | address.words[2] != 0:
            return False
        return address.words[3] == LOCALHOST6
    return address.words[3] & config.loopback_mask == config.loopback


def is_inbound_source(flow: Flow) -> bool:
    """Whether the sidecar calls its application: from 127.0.0.6 or ::6."""
    if flow.ipv6 == 0:
        return flow.source.words[3] == INBOUND_SOURCE4
    if flow.source.words[0] | flow.source.words[1] | flow.source.words[2] != 0:
        return False
    return flow.source.words[3] == INBOUND_SOURCE6


def is_excluded_interface(flow: Flow) -> bool:
    """Whether the packet goes by an interface that is left alone."""
    interface = LO if flow.local != 0 else flow.interface
    return has(flow.scope_flags, flow.scope, Listed.EXCLUDED_INTERFACES, interface)


def owner_of(config: Config, flow: Flow) -> u32:
    """Who of the sidecar's owners made the connection, users first; or nobody."""
    if config.flags & ConfigFlag.BY_OWNER == 0:
        if flow.in_proxy == 0:
            return NOBODY
        return SIDECAR_GROUP if config.flags & ConfigFlag.AS_GROUP else SIDECAR_USER
    if has(config.flags, flow.owner, Listed.PROXY_UIDS, flow.uid):
        return SIDECAR_USER
    if has(config.flags, flow.owner, Listed.PROXY_GIDS, flow.gid):
        return SIDECAR_GROUP
    return NOBODY


def is_first_owner(config: Config, flow: Flow) -> bool:
    """Whether the owner whose rules come first made the connection."""
    if config.flags & ConfigFlag.BY_OWNER == 0:
        if config.flags & (ConfigFlag.AS_GROUP | ConfigFlag.FIRST_IS_GROUP) == (
            ConfigFlag.AS_GROUP
        ):
            return False
        return flow.in_proxy != 0
    if config.flags & ConfigFlag.FIRST_IS_GROUP != 0:
        return flow.gid == config.first_owner
    return flow.uid == config.first_owner


def is_local_call(config: Config, flow: Flow) -> bool:
    """Whether the first owner's rules settle it: RETURN on lo for everybody else.

    With DNS the rule is narrower: a resolver may listen on this machine.
    """
    if flow.local == 0 or config.flags & ConfigFlag.CAPTURES_LOOPBACK != 0:
        return False
    if config.flags & ConfigFlag.DNS == 0:
        return True
    return flow.protocol == TCP and flow.port != DNS


def is_self_call(config: Config, flow: Flow, owner: u32) -> bool:
    """Whether the sidecar calls its own pod, to reach its inbound listener."""
    if flow.local == 0 or flow.protocol != TCP or flow.port == config.tunnel_port:
        return False
    # Istio leaves DNS out for users, not for groups.
    if (
        config.flags & ConfigFlag.DNS != 0
        and flow.port == DNS
        and owner != SIDECAR_GROUP
    ):
        return False
    return not is_loopback(config, flow, flow.destination)


def own_traffic(config: Config, flow: Flow) -> u32:
    """The rules of the sidecar's owners, if it has any; 0 goes on to the next ones."""
    if config.flags & (ConfigFlag.BY_OWNER | SOME_OWNERS) == ConfigFlag.BY_OWNER:
        return 0
    if is_local_call(config, flow) and not is_first_owner(config, flow):
        return settled(Action.PASS, Rule.OUT_LOCAL)
    owner = owner_of(config, flow)
    if owner == NOBODY:
        return 0
    if is_self_call(config, flow, owner):
        return settled(Action.TO_INBOUND, Rule.OUT_SELF_CALL)
    return settled(Action.PASS, Rule.OUT_PROXY)


def owner_groups(config: Config, flow: Flow) -> u32:
    """Groups that are left out; 0 goes on."""
    if config.flags & ConfigFlag.ONLY_GROUPS != 0:
        if has(config.flags, flow.owner, Listed.INCLUDED_GROUPS, flow.gid):
            return 0
        return settled(Action.PASS, Rule.OUT_GROUP_NOT_INCLUDED)
    if has(config.flags, flow.owner, Listed.EXCLUDED_GROUPS, flow.gid):
        return settled(Action.PASS, Rule.OUT_GROUP_EXCLUDED)
    return 0


def is_dns(config: Config, flow: Flow) -> bool:
    """Whether it is a query that the agent answers."""
    if config.flags & ConfigFlag.DNS == 0 or flow.port != DNS:
        return False
    if flow.protocol not in (TCP, UDP):
        return False
    if config.flags & ConfigFlag.ALL_DNS != 0:
        return True
    return covers(config.flags, flow.owner, Listed.DNS_SERVERS, flow.destination)


def included(config: Config, flow: Flow) -> u32:
    """The last rules of the chain: ranges and ports, and its end."""
    flags, owner = config.flags, flow.owner
    if is_loopback(config, flow, flow.destination):
        return settled(Action.PASS, Rule.OUT_LOOPBACK)
    if covers(flags, owner, Listed.EXCLUDED_RANGES, flow.destination):
        return settled(Action.PASS, Rule.OUT_EXCLUDED_RANGE)
    if flow.protocol != TCP:
        return settled(Action.PASS, Rule.OUT_OTHER_PROTOCOL)
    if has(flags, owner, Listed.INCLUDED_OUTBOUND_PORTS, flow.port):
        return settled(Action.TO_OUTBOUND, Rule.OUT_INCLUDED_PORT)
    if flags & ConfigFlag.OUTBOUND_ALL != 0:
        return settled(Action.TO_OUTBOUND, Rule.OUT_ALL_RANGES)
    if covers(flags, owner, Listed.INCLUDED_RANGES, flow.destination):
        return settled(Action.TO_OUTBOUND, Rule.OUT_INCLUDED_RANGE)
    return settled(Action.PASS, Rule.OUT_NOT_INCLUDED)


def nat_output(config: Config, flow: Flow) -> u32:
    """Nat OUTPUT, in order."""
    if is_excluded_interface(flow):
        return settled(Action.PASS, Rule.OUT_EXCLUDED_INTERFACE)
    if flow.protocol in (TCP, UDP) and has(
        config.flags, flow.owner, Listed.EXCLUDED_OUTBOUND_PORTS, flow.port
    ):
        return settled(Action.PASS, Rule.OUT_EXCLUDED_PORT)
    if flow.local != 0 and is_inbound_source(flow):
        return settled(Action.PASS, Rule.OUT_FROM_INBOUND)
    if (verdict := own_traffic(config, flow)) != 0:
        return verdict
    if (verdict := owner_groups(config, flow)) != 0:
        return verdict
    if is_dns(config, flow):
        return settled(Action.TO_DNS, Rule.OUT_DNS)
    return included(config, flow)


def inbound_ports(config: Config, flow: Flow, port: u32) -> u32:
    """ISTIO_INBOUND; TPROXY has it in another table, without the tunnel's rule."""
    flags = config.flags
    every = flags & ConfigFlag.INBOUND_ALL != 0
    if not every and flags & SOME_INBOUND_PORTS == 0:
        return settled(Action.PASS, Rule.IN_NOT_INCLUDED)
    if port == config.tunnel_port and flags & ConfigFlag.MODE_TPROXY == 0:
        return settled(Action.PASS, Rule.IN_TUNNEL_PORT)
    if every:
        if has(flags, flow.owner, Listed.EXCLUDED_INBOUND_PORTS, port):
            return settled(Action.PASS, Rule.IN_EXCLUDED_PORT)
        return settled(Action.TO_INBOUND, Rule.IN_ALL_PORTS)
    if has(flags, flow.owner, Listed.INCLUDED_INBOUND_PORTS, port):
        return settled(Action.TO_INBOUND, Rule.IN_INCLUDED_PORT)
    return settled(Action.PASS, Rule.IN_NOT_INCLUDED)


def is_marked_call(config: Config, flow: Flow) -> bool:
    """TPROXY: whether mangle OUTPUT leaves the mark of a sidecar that calls its own pod."""
    if config.proxy_mark in (flow.mark, SIDECAR_CALL_MARK):
        return False
    if flow.mark == SIDECAR_CALL_MARK:
        return True
    if flow.local == 0 or is_loopback(config, flow, flow.destination):
        return False
    return owner_of(config, flow) != NOBODY


def listener_of(config: Config, action: u32) -> u32:
    """The port that an action redirects to."""
    if action == Action.TO_OUTBOUND:
        return config.outbound_port
    if action == Action.TO_INBOUND:
        return config.inbound_port
    return config.dns_port


def loops_back(config: Config, flow: Flow, action: u32) -> bool:
    """TPROXY: whether a connection is captured on this machine, on its way back in.

    What OUTPUT has redirected goes to localhost by then.
    """
    if has(flow.scope_flags, flow.scope, Listed.EXCLUDED_INTERFACES, LO):
        return False
    if not is_marked_call(config, flow) or is_inbound_source(flow):
        return False
    port = flow.port
    if action == Action.PASS:
        if flow.local == 0 or is_loopback(config, flow, flow.destination):
            return False
    else:
        if flow.ipv6 != 0 or LOCALHOST4 & config.loopback_mask == config.loopback:
            return False
        port = listener_of(config, action)
    return action_of(inbound_ports(config, flow, port)) == Action.TO_INBOUND


def tproxy(config: Config, flow: Flow) -> u32:
    """Mangle PREROUTING, in order."""
    if is_excluded_interface(flow):
        return settled(Action.PASS, Rule.IN_EXCLUDED_INTERFACE)
    if flow.mark == config.proxy_mark:
        return settled(Action.PASS, Rule.IN_MARKED)
    if flow.local != 0 and (is_inbound_source(flow) or flow.mark != SIDECAR_CALL_MARK):
        return settled(Action.PASS, Rule.IN_LOCAL)
    verdict = inbound_ports(config, flow, flow.port)
    if action_of(verdict) == Action.PASS:
        return verdict
    if is_loopback(config, flow, flow.destination):
        return settled(Action.PASS, Rule.IN_LOOPBACK)
    return verdict


def rerouted(config: Config, flow: Flow) -> u32:
    """A virtual machine's interfaces: their traffic is outbound; 0 goes on."""
    if not has(
        flow.scope_flags, flow.scope, Listed.REROUTED_INTERFACES, flow.interface
    ):
        return 0
    if config.flags & ConfigFlag.OUTBOUND_ALL != 0 or covers(
        config.flags, flow.owner, Listed.INCLUDED_RANGES, flow.destination
    ):
        return settled(Action.TO_OUTBOUND, Rule.IN_REROUTED)
    return settled(Action.PASS, Rule.IN_REROUTED_NOT_INCLUDED)


def prerouting(config: Config, flow: Flow) -> u32:
    """Mangle and nat PREROUTING, in order."""
    if flow.protocol != TCP:
        return settled(Action.PASS, Rule.IN_OTHER_PROTOCOL)
    by_tproxy = config.flags & ConfigFlag.MODE_TPROXY != 0
    passed = settled(Action.PASS, Rule.IN_LOCAL)
    if by_tproxy:
        passed = tproxy(config, flow)
    # nat has nothing to say of a packet that OUTPUT has seen, nor of a captured one.
    if flow.local != 0 or action_of(passed) != Action.PASS:
        return passed
    if (verdict := rerouted(config, flow)) != 0:
        return verdict
    if by_tproxy:
        return passed
    if is_excluded_interface(flow):
        return settled(Action.PASS, Rule.IN_EXCLUDED_INTERFACE)
    return inbound_ports(config, flow, flow.port)


def exempt(config: Config, flow: Flow) -> u32:
    """What is settled before any table: Istio has written none; 0 goes on."""
    if config.flags & ConfigFlag.MODE_NONE != 0:
        return settled(Action.PASS, Rule.MODE_NONE)
    if flow.ipv6 != 0 and config.flags & ConfigFlag.IPV6 == 0:
        return settled(Action.PASS, Rule.FAMILY_OFF)
    return 0


@subprogram(is_global=True)
def decide_outbound(config: Config | None, flow: Flow | None) -> u32:
    """What happens to a new connection that the pod makes: a verdict.

    A global function: the kernel verifies it once, by itself, and not along every way that
    leads to it and from it. Before Linux 6.8 it cannot be told that there are arguments.
    """
    if config is None or flow is None:
        return settled(Action.REFUSE, Rule.UNDECIDED)
    if (verdict := exempt(config, flow)) != 0:
        return verdict
    verdict = nat_output(config, flow)
    if config.flags & ConfigFlag.MODE_TPROXY == 0 or flow.protocol != TCP:
        return verdict
    if loops_back(config, flow, action_of(verdict)):
        return settled(Action.TO_INBOUND, Rule.OUT_SELF_CALL_TPROXY)
    return verdict


@subprogram(is_global=True)
def decide_inbound(config: Config | None, flow: Flow | None) -> u32:
    """What happens to a new connection that comes to the pod: a verdict."""
    if config is None or flow is None:
        return settled(Action.REFUSE, Rule.UNDECIDED)
    if (verdict := exempt(config, flow)) != 0:
        return verdict
    return prerouting(config, flow)
