"""Istio's rules in its native nftables form, generated from a PodConfig.

They say what the iptables text says, but for what Istio's two generators differ in:
IPv4 and IPv6 share tables here, so that rules without an address hold for IPv6 even
where it is not enabled, and invalid packets are dropped for TCP alone.
"""

import re
from collections import Counter
from typing import NamedTuple

from beewire.mesh.config import ALL, InterceptionMode, IPNetwork, PodConfig
from beewire.mesh.parity.rules import (
    AGENT_DNS_PORT,
    DNS_PORT,
    INBOUND_SOURCE,
    SELF_CALL_MARK,
    captures_dns,
    captures_loopback,
    spelled,
)

NAT, MANGLE, RAW = "istio-proxy-nat", "istio-proxy-mangle", "istio-proxy-raw"
TCP = "meta l4proto tcp"

# Chains in the order in which Istio declares them; base chains with type and priority.
_CHAINS = {
    NAT: (
        "prerouting",
        "output",
        "istio-inbound",
        "istio-redirect",
        "istio-in-redirect",
        "istio-output",
        "istio-output-dns",
    ),
    MANGLE: (
        "prerouting",
        "output",
        "istio-divert",
        "istio-tproxy",
        "istio-inbound",
        "istio-drop",
    ),
    RAW: ("prerouting", "output", "istio-inbound", "istio-output-dns"),
}
_HOOKS = {
    (NAT, "prerouting"): "type nat hook prerouting priority -100",
    (NAT, "output"): "type nat hook output priority -100",
    (MANGLE, "prerouting"): "type filter hook prerouting priority -150",
    (MANGLE, "output"): "type route hook output priority -150",
    (RAW, "prerouting"): "type filter hook prerouting priority -300",
    (RAW, "output"): "type filter hook output priority -300",
}


# Words of nft that look like eth0: an interface of such a name has to be quoted.
_WORDS = frozenset({"ip6", "rt0", "rt2", "rt4", "fully-random"})
_PLAIN_NAME = re.compile(r"[a-z]+[0-9]+|[a-z][a-z0-9]*(-[a-z0-9]+)+")


def _quoted(nic: str) -> str:
    """An interface as nft takes it: Istio quotes none, and nft refuses some of those."""
    plain = _PLAIN_NAME.fullmatch(nic) and nic not in _WORDS
    return nic if plain else f'"{nic}"'


def nft_input(config: PodConfig) -> str:
    """Return Istio's rules for `config` as input of `nft -f`; "" where there are none."""
    if config.inbound_interception_mode is InterceptionMode.NONE:
        return ""
    return _Rules(config).text()


class _Rule(NamedTuple):
    chain: str
    text: str
    before: int | None = None  # the number of the rule that it is inserted before

    @property
    def target(self) -> str:
        words = self.text.split()
        return words[-1] if words[-2:-1] == ["jump"] else ""


class _Rules:
    # Istio's decision for both IP versions, rule by rule.

    def __init__(self, config: PodConfig) -> None:
        self.config = config
        self.tables: dict[str, list[_Rule]] = {table: [] for table in _CHAINS}
        self.families = (4, 6) if config.enable_ipv6 else (4,)
        self.loopback = {4: str(config.host_ipv4_loopback_cidr), 6: "::1/128"}
        self.tproxy = config.inbound_interception_mode is InterceptionMode.TPROXY
        self.owners = [("skuid", uid) for uid in config.proxy_uid]
        self.owners += [("skgid", gid) for gid in config.proxy_gid]
        self.dns = captures_dns(config)
        self._interfaces()
        self._drop_invalid()
        self._redirect_chains()
        self._inbound_ports()
        self._add(NAT, "output", "counter jump istio-output")
        self._excluded_outbound_ports()
        self._own_traffic()
        self._owner_groups()
        self._dns()
        self._each_family(NAT, "istio-output", "daddr {loopback} counter return")
        self._outbound_ranges()
        self._tproxy_marks()

    def text(self) -> str:
        return "".join(
            f"{line}\n"
            for table, rules in self.tables.items()
            if rules
            for line in self._table(table, rules)
        )

    def _table(self, table: str, rules: list[_Rule]) -> list[str]:
        lines = [f"add table inet {table}", f"flush table inet {table}"]
        used = {rule.chain for rule in rules} | {rule.target for rule in rules}
        for chain in _CHAINS[table]:
            hook = _HOOKS.get((table, chain))
            if chain in used:
                declared = f"add chain inet {table} {chain}"
                lines.append(f"{declared} {{ {hook} ; }}" if hook else declared)
        counts: Counter[str] = Counter()
        for rule in rules:
            where = f"rule inet {table} {rule.chain}"
            # nft inserts before a rule that is there, and nowhere else.
            if rule.before is None or rule.before >= counts[rule.chain]:
                lines.append(f"add {where} {rule.text}")
            else:
                lines.append(f"insert {where} index {rule.before} {rule.text}")
            counts[rule.chain] += 1
        return lines

    def _add(self, table: str, chain: str, text: str) -> None:
        self.tables[table].append(_Rule(chain, text))

    def _insert(self, table: str, chain: str, index: int, text: str) -> None:
        self.tables[table].append(_Rule(chain, text, index))

    def _each_family(self, table: str, chain: str, text: str) -> None:
        # `saddr`, `daddr` and {loopback} become those of each family.
        for family in self.families:
            self._add(table, chain, self._of_family(family, text))

    def _of_family(self, family: int, text: str) -> str:
        word = {4: "ip", 6: "ip6"}[family]
        for address in ("saddr", "daddr"):
            text = text.replace(address, f"{word} {address}")
        text = text.replace("tproxy to", f"tproxy {word} to")
        return text.format(loopback=self.loopback[family])

    def _of_families(
        self, networks: tuple[IPNetwork, ...]
    ) -> list[tuple[int, IPNetwork]]:
        return [
            (family, network)
            for family in self.families
            for network in networks
            if network.version == family
        ]

    def _interfaces(self) -> None:
        for table in (NAT, MANGLE) if self.tproxy else (NAT,):
            for nic in map(_quoted, self.config.exclude_interfaces):
                self._add(table, "prerouting", f"iifname {nic} counter return")
                self._add(table, "output", f"oifname {nic} counter return")
        for nic in map(_quoted, self.config.reroute_virtual_interfaces):
            self._insert(NAT, "prerouting", 0, f"iifname {nic} counter return")

    def _drop_invalid(self) -> None:
        if self.config.drop_invalid:
            invalid = f"{TCP} ct state invalid counter jump istio-drop"
            self._add(MANGLE, "prerouting", invalid)
            self._add(MANGLE, "istio-drop", "counter drop")

    def _redirect_chains(self) -> None:
        config = self.config
        tunnel = f"{TCP} tcp dport {config.inbound_tunnel_port} counter return"
        self._add(NAT, "istio-inbound", tunnel)
        for chain, port in (
            ("istio-redirect", config.proxy_port),
            ("istio-in-redirect", config.inbound_capture_port),
        ):
            self._add(NAT, chain, f"{TCP} counter redirect to :{port}")

    def _inbound_ports(self) -> None:
        include = self.config.inbound_ports_include
        if not include:
            return
        table = MANGLE if self.tproxy else NAT
        if self.tproxy:
            self._tproxy_chains()
        self._add(table, "prerouting", f"{TCP} counter jump istio-inbound")
        if include is not ALL:
            for port in include:
                self._capture_inbound(f"tcp dport {port} ")
            return
        for port in self.config.inbound_ports_exclude:
            excluded = f"{TCP} tcp dport {port} counter return"
            self._add(table, "istio-inbound", excluded)
        self._capture_inbound("")

    def _capture_inbound(self, port: str) -> None:
        if not self.tproxy:
            captured = f"{TCP} {port}counter jump istio-in-redirect"
            self._add(NAT, "istio-inbound", captured)
            return
        known = f"{TCP} ct state related,established {port}counter jump istio-divert"
        self._add(MANGLE, "istio-inbound", known)
        self._add(MANGLE, "istio-inbound", f"{TCP} {port}counter jump istio-tproxy")

    def _tproxy_chains(self) -> None:
        mark = self.config.inbound_tproxy_mark
        self._add(MANGLE, "istio-divert", f"counter meta mark set {mark}")
        self._add(MANGLE, "istio-divert", "counter accept")
        target = (
            f"tproxy to :{self.config.inbound_capture_port}"
            f" meta mark set {mark} counter accept"
        )
        self._each_family(
            MANGLE, "istio-tproxy", f"{TCP} daddr != {{loopback}} {target}"
        )

    def _tproxy_marks(self) -> None:
        if not self.tproxy:
            return
        mark = self.config.inbound_tproxy_mark
        saved = f"{TCP} mark {mark} counter ct mark set mark"
        self._add(MANGLE, "prerouting", saved)
        self._add(MANGLE, "output", f"oifname lo {TCP} mark {mark} counter return")
        for kind, owner in self.owners:
            match = f"oifname lo {TCP} daddr != {{loopback}} {kind} {owner}"
            marked = f"{match} counter meta mark set {SELF_CALL_MARK}"
            self._each_family(MANGLE, "output", marked)
        restored = f"{TCP} ct mark {mark} counter meta mark set ct mark"
        self._add(MANGLE, "output", restored)
        chain = "istio-inbound"
        self._insert(MANGLE, chain, 0, f"{TCP} mark {mark} counter return")
        for family in self.families:
            source = f"iifname lo {TCP} saddr {INBOUND_SOURCE[family]} counter return"
            self._insert(MANGLE, chain, 1, self._of_family(family, source))
        others = f"iifname lo {TCP} mark != {SELF_CALL_MARK} counter return"
        self._insert(MANGLE, chain, 2, others)

    def _output(self, text: str) -> None:
        self._add(NAT, "istio-output", text)

    def _excluded_outbound_ports(self) -> None:
        for port in self.config.outbound_ports_exclude:
            self._output(f"tcp dport {port} counter return")
            self._output(f"udp dport {port} counter return")

    def _own_traffic(self) -> None:
        for family in self.families:
            source = f"oifname lo saddr {INBOUND_SOURCE[family]} counter return"
            self._output(self._of_family(family, source))
        for kind, owner in self.owners:
            self._sidecar_calls_own_pod(kind, owner)
            if not captures_loopback(self.config):
                only = f"{TCP} tcp dport != {DNS_PORT} " if self.dns else ""
                self._output(f"oifname lo {only}{kind} != {owner} counter return")
            self._output(f"{kind} {owner} counter return")

    def _sidecar_calls_own_pod(self, kind: str, owner: int) -> None:
        ports = str(self.config.inbound_tunnel_port)
        if self.dns and kind == "skuid":
            ports = f"{{{{ {DNS_PORT}, {ports} }}}}"
        match = f"oifname lo {TCP} daddr != {{loopback}} tcp dport != {ports}"
        call = f"{match} {kind} {owner} counter jump istio-in-redirect"
        self._each_family(NAT, "istio-output", call)

    def _owner_groups(self) -> None:
        include = self.config.owner_groups_include
        if include is ALL:
            for group in self.config.owner_groups_exclude:
                self._output(f"skgid {spelled(self.config, group)} counter return")
        else:
            others = "".join(
                f"skgid != {spelled(self.config, group)} " for group in include
            )
            self._output(f"{others}counter return")

    def _servers(self) -> list[tuple[int, str]]:
        v6 = self.config.dns_servers_v6 if 6 in self.families else ()
        return [(4, f"{server}/32") for server in self.config.dns_servers_v4] + [
            (6, f"{server}/128") for server in v6
        ]

    def _dns(self) -> None:
        if not self.dns:
            return
        chain = "istio-output-dns"
        self._add(RAW, "output", f"counter jump {chain}")
        self._output(f"counter jump {chain}")
        target = f"counter redirect to :{AGENT_DNS_PORT}"
        for protocol, prefix in (("tcp", f"{TCP} "), ("udp", "")):
            port = f"{protocol} dport {DNS_PORT}"
            if self.config.capture_all_dns:
                self._add(NAT, chain, f"{prefix}{port} {target}")
                continue
            for family, server in self._servers():
                match = self._of_family(family, f"daddr {server} {port}")
                self._add(NAT, chain, f"{match} {target}")
        self._dns_zones(chain)

    def _dns_zones(self, chain: str) -> None:
        for kind, owner in self.owners:
            for port, zone in (
                (f"dport {DNS_PORT}", 1),
                (f"sport {AGENT_DNS_PORT}", 2),
            ):
                match = f"udp {port} meta {kind} {owner}"
                self._add(RAW, chain, f"{match} counter ct zone set {zone}")
        self._add(RAW, "prerouting", "counter jump istio-inbound")
        query, answer = f"udp dport {DNS_PORT}", f"udp sport {DNS_PORT}"
        zones = "counter ct zone set"
        if self.config.capture_all_dns:
            self._add(RAW, chain, f"{query} {zones} 2")
            self._add(RAW, "istio-inbound", f"{answer} {zones} 1")
            return
        for family, server in self._servers():
            to = self._of_family(family, f"daddr {server}")
            self._add(RAW, chain, f"{query} {to} {zones} 2")
            by = self._of_family(family, f"saddr {server}")
            self._add(RAW, "istio-inbound", f"{answer} {by} {zones} 1")

    def _outbound_ranges(self) -> None:
        config = self.config
        for family, excluded in self._of_families(config.outbound_ip_ranges_exclude):
            self._output(self._of_family(family, f"daddr {excluded} counter return"))
        redirect = "counter jump istio-redirect"
        for port in config.outbound_ports_include:
            self._output(f"tcp dport {port} {redirect}")
        include = config.outbound_ip_ranges_include
        if include is ALL:
            self._output(redirect)
            self._reroute(redirect)
            return
        for family, included in self._of_families(include):
            match = self._of_family(family, f"daddr {included} {redirect}")
            self._reroute(match)
            self._output(match)

    def _reroute(self, text: str) -> None:
        for nic in map(_quoted, self.config.reroute_virtual_interfaces):
            self._insert(NAT, "prerouting", 0, f"iifname {nic} {text}")
