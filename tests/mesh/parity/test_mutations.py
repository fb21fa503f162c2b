"""One rule, or one line of the decision, that is another: comparing finds it."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from beewire.mesh.config import PodConfig, ProxyIdentity
from beewire.mesh.decision import Connection, Verdict, decider
from beewire.mesh.parity import oracle_iptables, restore_inputs
from beewire.mesh.parity.cells import Cells
from beewire.mesh.parity.configurations import INTERFACES, random_config
from beewire.mesh.parity.goldens import GROUPS, goldens
from beewire.mesh.parity.judge import Judge, connection_of
from beewire.mesh.parity.kernel import Kernel
from beewire.mesh.parity.oracle import Oracle
from tests.mesh.parity.mutants import forget, mutant, mutate

DROPPED = "-A OUTPUT -p tcp --dport 1 -j RETURN"  # in the place of a rule

# What configurations at random seldom have together.
DNS = PodConfig(redirect_dns=True, capture_all_dns=True, enable_ipv6=True)
CORNERS = (DNS, replace(DNS, outbound_ports_exclude=(53,)))

# Golden file, a rule of its text, the rule in its place.
RULES = (
    ("inbound-ports-wildcard", "--dport 15008 -j RETURN", "--dport 15009 -j RETURN"),
    (
        "inbound-ports-wildcard",
        "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT",
        "-A ISTIO_INBOUND -p tcp -j ISTIO_REDIRECT",
    ),
    ("inbound-ports-wildcard", "-A PREROUTING -p tcp -j ISTIO_INBOUND", DROPPED),
    ("inbound-ports-include", "--dport 31000 -j", "--dport 31001 -j"),
    ("inbound-ports-include", "REDIRECT --to-ports 15006", "REDIRECT --to-ports 15007"),
    ("empty", "-o lo -s 127.0.0.6/32 -j RETURN", "-o lo -s 127.0.0.7/32 -j RETURN"),
    ("empty", "-A ISTIO_OUTPUT -o lo -s 127", "-A ISTIO_OUTPUT ! -o lo -s 127"),
    (
        "ip-range",
        "-m multiport ! --dports 53,15008 -m owner --uid-owner 3 -j",
        "-m multiport ! --dports 15008 -m owner --uid-owner 3 -j",
    ),
    (
        "ip-range",
        "-o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1 -j",
        "-o lo ! -d 127.0.0.0/8 -p tcp ! --dport 15008 -m owner --gid-owner 1 -j",
    ),
    (
        "ip-range",
        "-o lo -p tcp ! --dport 53 -m owner ! --uid-owner 3 -j RETURN",
        "-o lo -m owner ! --uid-owner 3 -j RETURN",
    ),
    (
        "ip-range",
        "-A ISTIO_OUTPUT -m owner --gid-owner 2 -j RETURN",
        "-A ISTIO_OUTPUT -m owner ! --gid-owner 2 -j RETURN",
    ),
    ("ip-range", "-p udp --dport 53 -d 127.0.0.53/32 -j R", "-p udp --dport 53 -j R"),
    ("ipnets", "-d 10.0.0.0/8 -j ISTIO_R", "-d 10.0.0.0/9 -j ISTIO_R"),
    ("ip-range", "-d 9.9.0.0/16 -j ISTIO_R", "-d 9.8.0.0/15 -j ISTIO_R"),
    ("ip-range", "-A ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS", DROPPED),
    ("basic-exclude-nic", "-o not-istio-nic -j RETURN", "-o not-istio+ -j DROP"),
    ("kube-virt-interfaces", "-i eth1 -j ISTIO_REDIRECT", "-i eth1 -j RETURN"),
    ("ipv6-outbound-ports", "--dport 31000 -j ISTIO_R", "--dport 31002 -j ISTIO_R"),
    (
        "inbound-ports-wildcard-tproxy",
        "-i lo -m mark ! --mark 1338 -j RETURN",
        "-i lo -m mark ! --mark 1337 -j RETURN",
    ),
    (
        "inbound-ports-tproxy",
        "-p tcp --dport 32000 -j ISTIO_TPROXY",
        "-p tcp --dport 32000 -j ISTIO_DIVERT",
    ),
    ("ipv6-ipnets", "-d 2001:db8::/32 -j RETURN", "-d 2001:db8::/33 -j RETURN"),
)

# File of the package `decision`, a piece of a line, the piece in its place.
FUNCTION = (
    ("outbound.py", "bool(config.dns_servers_v4 or", "bool(config.dns_servers_v4 and"),
    ("outbound.py", "(config.capture_all_dns or bool(servers))", "bool(servers)"),
    ("outbound.py", "        _from_inbound(version),\n", ""),
    (
        "outbound.py",
        "protocol in (TCP, UDP) and port in excluded",
        "protocol == TCP and port in excluded",
    ),
    (
        "outbound.py",
        "if connection.local and connection.source",
        "if connection.source",
    ),
    ("outbound.py", "not captures_loopback(config)", "True"),
    ("outbound.py", "return not dns or (", "return dns or ("),
    ("outbound.py", "DNS_PORT if by_user", "DNS_PORT if not by_user"),
    ("outbound.py", "dns and not owners.is_group", "dns and owners.is_group"),
    ("outbound.py", "not owners.is_first(connection)", "owners.of(connection) is None"),
    (
        "outbound.py",
        "return Verdict(Action.TO_INBOUND, Rule.OUT_SELF_CALL, owner)",
        "pass",
    ),
    ("outbound.py", "connection.gid in groups:", "connection.uid in groups:"),
    ("outbound.py", "connection.destination in known", "connection.source in known"),
    (
        "outbound.py",
        "connection.protocol == TCP and port in included",
        "port in included",
    ),
    (
        "owners.py",
        "self._uids.values(), *self._gids",
        "self._gids.values(), *self._uids",
    ),
    ("owners.py", "get(connection.uid) or self", "get(connection.uid) and self"),
    ("inbound.py", "port == tunnel and not tproxy", "port == tunnel"),
    ("inbound.py", "if port in excluded", "if port not in excluded"),
    ("inbound.py", "ranges is ALL or find", "find"),
    ("families.py", "connection.mark != SIDECAR_CALL_MARK", "False"),
    ("families.py", "if captured and connection", "if not captured and connection"),
    ("families.py", "or connection.mark == self._proxy_mark\n", ""),
    (
        "families.py",
        "if self._tproxy and connection.protocol == TCP",
        "if self._tproxy",
    ),
    ("ranges.py", "number & mask == low", "number & mask <= low"),
    ("ranges.py", "if network.version == version", "if version"),
    ("deciding.py", "version == 6 and not config.enable_ipv6", "version == 5"),
    (
        "deciding.py",
        "connection.state is not State.NEW",
        "connection.state is State.INVALID",
    ),
)

# As above, of the programs' `decision.py`.
PROGRAMS = (
    (
        "flow.source.words[3] == INBOUND_SOURCE4",
        "flow.source.words[3] != INBOUND_SOURCE4",
    ),
    ("return flow.source.words[3] == INBOUND_SOURCE6", "return True"),
    (
        "interface = LO if flow.local != 0 else flow.interface",
        "interface = flow.interface",
    ),
    ("Listed.PROXY_GIDS, flow.gid", "Listed.PROXY_GIDS, flow.uid"),
    ("return flow.gid == config.first_owner", "return flow.uid == config.first_owner"),
    ("config.flags & ConfigFlag.CAPTURES_LOOPBACK != 0", "False"),
    ("return flow.protocol == TCP and flow.port != DNS", "return flow.port != DNS"),
    ("flow.protocol != TCP or flow.port == config.tunnel_port", "flow.protocol != TCP"),
    ("and owner != SIDECAR_GROUP", "and owner != SIDECAR_USER"),
    ("and not is_first_owner(config, flow)", "and owner_of(config, flow) == NOBODY"),
    ("Listed.INCLUDED_GROUPS, flow.gid", "Listed.EXCLUDED_GROUPS, flow.gid"),
    ("or flow.port != DNS:", "or flow.port == DNS:"),
    ("Listed.EXCLUDED_RANGES, flow.destination", "Listed.EXCLUDED_RANGES, flow.source"),
    (
        "flow.owner, Listed.EXCLUDED_OUTBOUND_PORTS",
        "flow.owner, Listed.EXCLUDED_INBOUND_PORTS",
    ),
    ("if flow.local != 0 and is_inbound_source(flow):", "if is_inbound_source(flow):"),
    ("if not every and flags & SOME_INBOUND_PORTS == 0:", "if False:"),
    (
        "if port == config.tunnel_port and flags & ConfigFlag.MODE_TPROXY == 0:",
        "if port == config.tunnel_port:",
    ),
    ("in (flow.mark, SIDECAR_CALL_MARK)", "in (0, SIDECAR_CALL_MARK)"),
    ("if flow.mark == config.proxy_mark:", "if False:"),
    ("if flow.local != 0 or action_of(passed)", "if action_of(passed)"),
    (
        "Listed.REROUTED_INTERFACES, flow.interface",
        "Listed.EXCLUDED_INTERFACES, flow.interface",
    ),
    ("flow.ipv6 != 0 and config.flags & ConfigFlag.IPV6 == 0", "flow.ipv6 != 0"),
)


class Asked(NamedTuple):
    """Connections under one configuration, and what Istio's rules do with each."""

    judge: Judge
    connections: list[Connection]

    @property
    def config(self) -> PodConfig:
        return self.judge.config

    def finds(self, verdicts: list[Verdict]) -> bool:
        """Whether a decision differs from the rules'."""
        outcomes = self.judge.compare(self.connections, None, {}).outcomes
        return not all(map(self.judge.agree, outcomes, verdicts))


def packets_of(oracle: Oracle, random: Random, each: int) -> list[Connection]:
    """Connections of both families and directions, new and open ones."""
    packets = [
        cells.sample(random)
        for version in (4, 6)
        for outbound in (True, False)
        for cells in [Cells(oracle, version, outbound=outbound)]
        for _ in range(each)
    ]
    return [connection_of(packet) for packet in packets if packet.state != "INVALID"]


def asked_of(config: PodConfig, random: Random, each: int = 150) -> Asked:
    """Connections under a configuration whose sidecar is known by its owner."""
    judge = Judge(replace(config, proxy_identity=ProxyIdentity.OWNER), GROUPS)
    return Asked(judge, packets_of(judge.oracle, random, each))


@pytest.fixture(scope="module")
def asked() -> list[Asked]:
    """Connections under golden files, under CORNERS and configurations at random."""
    random = Random(41)
    configs = [*goldens().values(), *(random_config(random) for _ in range(40))]
    return [
        *(asked_of(config, random, 1500) for config in CORNERS),
        *(asked_of(config, random) for config in configs),
    ]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where mutants are imported from."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_function_is_not_found_to_differ(asked: list[Asked]) -> None:
    verdicts = [[*map(decider(each.config), each.connections)] for each in asked]

    assert not any(each.finds(some) for each, some in zip(asked, verdicts, strict=True))


@pytest.mark.parametrize(("golden", "old", "new"), RULES)
def test_a_mutated_rule_is_found(golden: str, old: str, new: str) -> None:
    config = goldens()[golden]
    texts = [(each.family, each.text) for each in restore_inputs(config)]
    at = next(i for i, (_, text) in enumerate(texts) if old in text)
    texts[at] = (texts[at][0], mutate(texts[at][1], old, new))
    judge = Judge(config, GROUPS)
    mutated = Oracle(
        table
        for family, text in texts
        for table in oracle_iptables.tables(family, text, GROUPS)
    )
    random = Random(41)
    connections = packets_of(judge.oracle, random, 1500)
    connections += packets_of(mutated, random, 1500)

    judge.oracle = mutated

    assert judge.compare(connections, None, {}).unexplained != []


@pytest.mark.parametrize(("file", "old", "new"), FUNCTION)
def test_a_mutated_line_of_the_function_is_found(
    asked: list[Asked], home: Path, file: str, old: str, new: str
) -> None:
    module = mutant(home, "decision", file, old, new)

    found = any(
        each.finds([*map(module.decider(each.config), each.connections)])
        for each in asked
    )

    forget(module)
    assert found


@pytest.mark.kernel
@pytest.mark.parametrize(("old", "new"), PROGRAMS)
def test_a_mutated_line_of_the_programs_is_found(
    asked: list[Asked], home: Path, old: str, new: str
) -> None:
    module = mutant(home, "programs", "decision.py", old, new)

    with Kernel(import_module(f"{module.__name__}.deciding")) as kernel:
        found = any(
            each.judge.compare(each.connections, kernel, INTERFACES).unexplained
            for each in asked
        )

    forget(module)
    assert found
