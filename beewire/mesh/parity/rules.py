"""Istio's iptables rules, generated from a PodConfig.

The rules state Istio's decision in the order the kernel takes it. Outbound (nat OUTPUT):
excluded interfaces, excluded ports, the sidecar's own traffic, owner groups, DNS,
loopback, excluded ranges, included ports, included ranges. Inbound (PREROUTING):
excluded interfaces, the tunnel port, excluded ports, included ports.
"""

from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from beewire.mesh.config import ALL, InterceptionMode, PodConfig

DNS_PORT = 53
AGENT_DNS_PORT = 15053
SELF_CALL_MARK = 1338  # Istio's OutboundMark, whatever the mark of TPROXY is

# The sidecar's connections to its own application come from here.
INBOUND_SOURCE = {4: "127.0.0.6/32", 6: "::6/128"}

_TABLES = ("mangle", "nat", "raw")


class RestoreInput(NamedTuple):
    """One table for `iptables-restore` (family 4) or `ip6tables-restore` (family 6)."""

    family: int
    table: str
    text: str


def restore_inputs(config: PodConfig) -> tuple[RestoreInput, ...]:
    """Return Istio's rules for `config`, IPv4 first; a table without rules is left out.

    Mode NONE has no rules. TPROXY needs a routing rule for its mark besides these
    tables, which `iptables-restore` cannot express.
    """
    if config.inbound_interception_mode is InterceptionMode.NONE:
        return ()
    families = (4, 6) if config.enable_ipv6 else (4,)
    return tuple(
        RestoreInput(family, table, rules.text(table))
        for family in families
        for rules in (_Family(config, family).rules(),)
        for table in _TABLES
        if rules.tables[table]
    )


def routing_commands(config: PodConfig) -> tuple[str, ...]:
    """Return what Istio does besides rules: the address of ::6, and TPROXY's routes."""
    if config.inbound_interception_mode is InterceptionMode.NONE:
        return ()
    commands = ["ip -6 addr add ::6/128 dev lo"] if config.enable_ipv6 else []
    tproxy = config.inbound_interception_mode is InterceptionMode.TPROXY
    if tproxy and config.inbound_ports_include:
        mark, table = config.inbound_tproxy_mark, config.inbound_tproxy_route_table
        for ip in ("ip", "ip -6") if config.enable_ipv6 else ("ip",):
            commands.append(f"{ip} rule add fwmark {mark} lookup {table}")
            commands.append(f"{ip} route add local default dev lo table {table}")
    return tuple(commands)


def spelled(config: PodConfig, group: str) -> str:
    """An owner group in a rule: its number if that is known, or else its name."""
    return str(dict(config.owner_group_ids).get(group, group))


def captures_dns(config: PodConfig) -> bool:
    """Whether DNS is captured: not without a known server, unless all is taken.

    A server of either family switches both: the other one's rules change, too.
    """
    servers = config.dns_servers_v4 or config.dns_servers_v6
    return config.redirect_dns and (config.capture_all_dns or bool(servers))


def captures_loopback(config: PodConfig) -> bool:
    """Whether the pod's calls to itself are captured: a loopback range is included."""
    include = config.outbound_ip_ranges_include
    return include is not ALL and any(network.is_loopback for network in include)


class _Rules:
    # The rules of one family, per table, in the order they are run.

    def __init__(self) -> None:
        self.tables: dict[str, list[str]] = {table: [] for table in _TABLES}

    def append(self, table: str, chain: str, rule: str) -> None:
        self.tables[table].append(f"-A {chain} {rule}")

    def insert(self, table: str, chain: str, rule: str, position: int = 1) -> None:
        self.tables[table].append(f"-I {chain} {position} {rule}")

    def text(self, table: str) -> str:
        rules = self.tables[table]
        # A chain is declared before its first rule, in order of first use.
        # Those that are only jumped to come last.
        words = [rule.split() for rule in rules]
        chains = dict.fromkeys(
            [*(rule[1] for rule in words), *(rule[-1] for rule in words)]
        )
        declared = [f"-N {chain}" for chain in chains if chain.startswith("ISTIO_")]
        return "\n".join([f"* {table}", *declared, *rules, "COMMIT"]) + "\n"


class _Family:
    # Istio's decision for one IP version, rule by rule.

    def __init__(self, config: PodConfig, family: int) -> None:
        self.config = config
        self.family = family
        self.out = _Rules()
        loopback = {4: str(config.host_ipv4_loopback_cidr), 6: "::1/128"}
        self.loopback = loopback[family]
        self.owners = [("uid", uid) for uid in config.proxy_uid]
        self.owners += [("gid", gid) for gid in config.proxy_gid]
        servers = {4: config.dns_servers_v4, 6: config.dns_servers_v6}[family]
        bits = {4: 32, 6: 128}[family]
        self.dns_servers = [f"{server}/{bits}" for server in servers]
        self.dns = captures_dns(config)

    def rules(self) -> _Rules:
        self._excluded_interfaces()
        for nic in self.config.reroute_virtual_interfaces:
            self.out.insert("nat", "PREROUTING", f"-i {nic} -j RETURN")
        if self.config.drop_invalid:
            self._drop_invalid()
        self._redirect_chains()
        self._inbound_ports()
        self.out.append("nat", "OUTPUT", "-j ISTIO_OUTPUT")
        self._excluded_outbound_ports()
        self._own_traffic()
        self._owner_groups()
        if self.dns:
            self._dns_redirect()
            self._dns_zones()
        self._output(f"-d {self.loopback} -j RETURN")
        self._outbound_ranges()
        if self._tproxy:
            self._tproxy_marks()
        return self.out

    @property
    def _tproxy(self) -> bool:
        return self.config.inbound_interception_mode is InterceptionMode.TPROXY

    def _output(self, rule: str) -> None:
        self.out.append("nat", "ISTIO_OUTPUT", rule)

    def _excluded_interfaces(self) -> None:
        tables = ("nat", "mangle") if self._tproxy else ("nat",)
        for table in tables:
            for nic in self.config.exclude_interfaces:
                self.out.append(table, "PREROUTING", f"-i {nic} -j RETURN")
                self.out.append(table, "OUTPUT", f"-o {nic} -j RETURN")

    def _drop_invalid(self) -> None:
        invalid = "-m conntrack --ctstate INVALID -j ISTIO_DROP"
        self.out.append("mangle", "PREROUTING", invalid)
        self.out.append("mangle", "ISTIO_DROP", "-j DROP")

    def _redirect_chains(self) -> None:
        config = self.config
        append = self.out.append
        tunnel = f"-p tcp --dport {config.inbound_tunnel_port} -j RETURN"
        append("nat", "ISTIO_INBOUND", tunnel)
        redirect = "-p tcp -j REDIRECT --to-ports"
        append("nat", "ISTIO_REDIRECT", f"{redirect} {config.proxy_port}")
        append("nat", "ISTIO_IN_REDIRECT", f"{redirect} {config.inbound_capture_port}")

    def _inbound_ports(self) -> None:
        include = self.config.inbound_ports_include
        if not include:
            return
        table = "mangle" if self._tproxy else "nat"
        if self._tproxy:
            self._tproxy_chains()
        self.out.append(table, "PREROUTING", "-p tcp -j ISTIO_INBOUND")
        if include is not ALL:
            for port in include:
                self._capture_inbound(table, f"-p tcp --dport {port}")
            return
        for port in self.config.inbound_ports_exclude:
            self.out.append(table, "ISTIO_INBOUND", f"-p tcp --dport {port} -j RETURN")
        self._capture_inbound(table, "-p tcp")

    def _capture_inbound(self, table: str, match: str) -> None:
        if not self._tproxy:
            self.out.append(table, "ISTIO_INBOUND", f"{match} -j ISTIO_IN_REDIRECT")
            return
        known = "-m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT"
        self.out.append(table, "ISTIO_INBOUND", f"{match} {known}")
        self.out.append(table, "ISTIO_INBOUND", f"{match} -j ISTIO_TPROXY")

    def _tproxy_chains(self) -> None:
        mark = self.config.inbound_tproxy_mark
        target = (
            f"TPROXY --tproxy-mark {mark}/0xffffffff"
            f" --on-port {self.config.inbound_capture_port}"
        )
        append = self.out.append
        append("mangle", "ISTIO_DIVERT", f"-j MARK --set-mark {mark}")
        append("mangle", "ISTIO_DIVERT", "-j ACCEPT")
        append("mangle", "ISTIO_TPROXY", f"! -d {self.loopback} -p tcp -j {target}")

    def _tproxy_marks(self) -> None:
        # A mark of its own tells the sidecar's connections to its own pod from replies
        # of captured ones, so that only the former are captured again.
        mark = self.config.inbound_tproxy_mark
        append, insert = self.out.append, self.out.insert
        save = f"-p tcp -m mark --mark {mark} -j CONNMARK --save-mark"
        append("mangle", "PREROUTING", save)
        append("mangle", "OUTPUT", f"-p tcp -o lo -m mark --mark {mark} -j RETURN")
        for kind, owner in self.owners:
            match = f"! -d {self.loopback} -p tcp -o lo -m owner --{kind}-owner {owner}"
            append("mangle", "OUTPUT", f"{match} -j MARK --set-mark {SELF_CALL_MARK}")
        restore = f"-p tcp -m connmark --mark {mark} -j CONNMARK --restore-mark"
        append("mangle", "OUTPUT", restore)
        source = INBOUND_SOURCE[self.family]
        passes = (
            f"-p tcp -m mark --mark {mark} -j RETURN",
            f"-p tcp -s {source} -i lo -j RETURN",
            f"-p tcp -i lo -m mark ! --mark {SELF_CALL_MARK} -j RETURN",
        )
        for position, rule in enumerate(passes, 1):
            insert("mangle", "ISTIO_INBOUND", rule, position)

    def _excluded_outbound_ports(self) -> None:
        for port in self.config.outbound_ports_exclude:
            self._output(f"-p tcp --dport {port} -j RETURN")
            self._output(f"-p udp --dport {port} -j RETURN")

    def _own_traffic(self) -> None:
        self._output(f"-o lo -s {INBOUND_SOURCE[self.family]} -j RETURN")
        for kind, owner in self.owners:
            self._sidecar_calls_own_pod(kind, owner)
            if not captures_loopback(self.config):
                only = f"-p tcp ! --dport {DNS_PORT} " if self.dns else ""
                owned = f"-m owner ! --{kind}-owner {owner}"
                self._output(f"-o lo {only}{owned} -j RETURN")
            self._output(f"-m owner --{kind}-owner {owner} -j RETURN")

    def _sidecar_calls_own_pod(self, kind: str, owner: int) -> None:
        tunnel = self.config.inbound_tunnel_port
        ports = f"! --dport {tunnel}"
        if self.dns and kind == "uid":  # Istio leaves DNS out for users, not for groups
            ports = f"-m multiport ! --dports {DNS_PORT},{tunnel}"
        match = f"-o lo ! -d {self.loopback} -p tcp {ports}"
        self._output(f"{match} -m owner --{kind}-owner {owner} -j ISTIO_IN_REDIRECT")

    def _owner_groups(self) -> None:
        include = self.config.owner_groups_include
        if include is ALL:
            for group in self.config.owner_groups_exclude:
                owner = spelled(self.config, group)
                self._output(f"-m owner --gid-owner {owner} -j RETURN")
        else:
            others = " ".join(
                f"-m owner ! --gid-owner {spelled(self.config, group)}"
                for group in include
            )
            self._output(f"{others} -j RETURN".lstrip())

    def _dns_destinations(self) -> list[str]:
        if self.config.capture_all_dns:
            return [""]
        return [f" -d {server}" for server in self.dns_servers]

    def _dns_redirect(self) -> None:
        if self._dns_destinations():
            self._output("-j ISTIO_OUTPUT_DNS")
        for protocol, option in (("tcp", "--to-ports"), ("udp", "--to-port")):
            for destination in self._dns_destinations():
                match = f"-p {protocol} --dport {DNS_PORT}{destination}"
                target = f"-j REDIRECT {option} {AGENT_DNS_PORT}"
                self.out.append("nat", "ISTIO_OUTPUT_DNS", f"{match} {target}")

    def _dns_zones(self) -> None:
        # The application's query and the agent's own may share a five-tuple: each has
        # a conntrack zone of its own.
        append = self.out.append
        chain = "ISTIO_OUTPUT_DNS"
        append("raw", "OUTPUT", f"-j {chain}")
        for kind, owner in self.owners:
            owned = f"-m owner --{kind}-owner {owner}"
            append("raw", chain, f"-p udp --dport {DNS_PORT} {owned} -j CT --zone 1")
            append(
                "raw", chain, f"-p udp --sport {AGENT_DNS_PORT} {owned} -j CT --zone 2"
            )
        if self._dns_destinations():
            append("raw", "PREROUTING", "-j ISTIO_INBOUND")
        for destination in self._dns_destinations():
            query = f"-p udp --dport {DNS_PORT}{destination} -j CT --zone 2"
            append("raw", chain, query)
            source = destination.replace("-d", "-s")
            answer = f"-p udp --sport {DNS_PORT}{source} -j CT --zone 1"
            append("raw", "ISTIO_INBOUND", answer)

    def _outbound_ranges(self) -> None:
        for excluded in self._own_family(self.config.outbound_ip_ranges_exclude):
            self._output(f"-d {excluded} -j RETURN")
        for port in self.config.outbound_ports_include:
            self._output(f"-p tcp --dport {port} -j ISTIO_REDIRECT")
        nics = self.config.reroute_virtual_interfaces
        include = self.config.outbound_ip_ranges_include
        if include is ALL:
            self._output("-j ISTIO_REDIRECT")
            for nic in nics:
                self.out.insert("nat", "PREROUTING", f"-i {nic} -j ISTIO_REDIRECT")
            return
        for included in self._own_family(include):
            for nic in nics:
                rule = f"-i {nic} -d {included} -j ISTIO_REDIRECT"
                self.out.insert("nat", "PREROUTING", rule)
            self._output(f"-d {included} -j ISTIO_REDIRECT")

    def _own_family(
        self, ranges: tuple[IPv4Network | IPv6Network, ...]
    ) -> list[IPv4Network | IPv6Network]:
        return [network for network in ranges if network.version == self.family]
