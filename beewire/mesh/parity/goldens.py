"""The configurations of Istio's golden files (tools/istio-iptables/.../testdata).

Each is named as its file, as TestIptables in Istio's run_test.go names it: 27 of them. The
tests compare what `restore_inputs` makes of eighteen with the files, so that a rule here
is a rule of Istio's; the other nine combine the same knobs, and most of them have more
rules.
"""

from dataclasses import replace
from typing import Final

from beewire.mesh.config import PodConfig, ProxyIdentity, from_istio

# Numbers for the groups that two of the files name.
GROUPS: Final = {"java": 20202, "ftp": 21}

_CASES: Final[dict[str, dict[str, object]]] = {
    "basic-exclude-nic": {"ExcludeInterfaces": "not-istio-nic"},
    "empty": {},
    "inbound-ports-include": {"InboundPortsInclude": "32000,31000"},
    "inbound-ports-tproxy": {
        "InboundPortsInclude": "32000,31000",
        "InboundInterceptionMode": "TPROXY",
    },
    "inbound-ports-wildcard": {"InboundPortsInclude": "*"},
    "inbound-ports-wildcard-tproxy": {
        "InboundPortsInclude": "*",
        "InboundInterceptionMode": "TPROXY",
    },
    "ip-range": {
        "OutboundIPRangesExclude": "1.1.0.0/16",
        "OutboundIPRangesInclude": "9.9.0.0/16",
        "DryRun": True,
        "RedirectDNS": True,
        "ProxyGID": "1,2",
        "ProxyUID": "3,4",
        "DNSServersV4": ["127.0.0.53"],
    },
    "ipnets": {"OutboundIPRangesInclude": "10.0.0.0/8"},
    "ipv6-dns-outbound-owner-groups": {
        "EnableIPv6": True,
        "RedirectDNS": True,
        "OwnerGroupsInclude": "java,202",
    },
    "ipv6-dns-uid-gid": {
        "EnableIPv6": True,
        "RedirectDNS": True,
        "ProxyGID": "1,2",
        "ProxyUID": "3,4",
    },
    "ipv6-empty-inbound-ports": {"InboundPortsInclude": "", "EnableIPv6": True},
    "ipv6-inbound-ports": {"InboundPortsInclude": "4000,5000", "EnableIPv6": True},
    "ipv6-ipnets": {
        "InboundPortsInclude": "4000,5000",
        "InboundPortsExclude": "6000,7000,",
        "RerouteVirtualInterfaces": "eth0,eth1",
        "OutboundIPRangesExclude": "2001:db8::/32",
        "OutboundIPRangesInclude": "2001:db8::/32",
        "EnableIPv6": True,
    },
    "ipv6-outbound-ports": {
        "InboundPortsInclude": "",
        "OutboundPortsInclude": "32000,31000",
        "EnableIPv6": True,
    },
    "ipv6-virt-interfaces": {
        "InboundPortsInclude": "4000,5000",
        "RerouteVirtualInterfaces": "eth0,eth1",
        "EnableIPv6": True,
    },
    "kube-virt-interfaces": {
        "RerouteVirtualInterfaces": "eth1,eth2",
        "OutboundIPRangesInclude": "*",
    },
    "outbound-owner-groups": {"OwnerGroupsInclude": "java,202"},
    "outbound-owner-groups-exclude": {"OwnerGroupsExclude": "888,ftp"},
}

_LARGER: Final[dict[str, dict[str, object]]] = {
    "dns-uid-gid": {
        "EnableIPv6": True,
        "RedirectDNS": True,
        "DNSServersV4": ["127.0.0.53"],
        "DNSServersV6": ["::127.0.0.53"],
        "ProxyGID": "1,2",
        "ProxyUID": "3,4",
    },
    "drop-invalid": {"DropInvalid": True},
    "host-ipv4-loopback-cidr": {"HostIPv4LoopbackCidr": "127.0.0.1/8"},
    "ipnets-with-kube-virt-interfaces": {
        "RerouteVirtualInterfaces": "eth1,eth2",
        "OutboundIPRangesInclude": "10.0.0.0/8",
    },
    "ipv6-dns-outbound-owner-groups-exclude": {
        "EnableIPv6": True,
        "RedirectDNS": True,
        "OwnerGroupsExclude": "888,ftp",
    },
    "ipv6-uid-gid": {
        "InboundPortsInclude": "4000,5000",
        "InboundPortsExclude": "6000,7000",
        "RerouteVirtualInterfaces": "eth0,eth1",
        "OutboundIPRangesExclude": "2001:db8::/32",
        "OutboundIPRangesInclude": "2001:db8::/32",
        "EnableIPv6": True,
        "ProxyGID": "1,2",
        "ProxyUID": "3,4",
    },
    "loopback-outbound-iprange": {
        "OutboundIPRangesInclude": "127.1.2.3/32",
        "DryRun": True,
        "RedirectDNS": True,
        "DNSServersV4": ["127.0.0.53"],
        "ProxyGID": "1,2",
        "ProxyUID": "3,4",
    },
    "outbound-ports-include": {"OutboundPortsInclude": "32000,31000"},
    "tproxy": {
        "InboundPortsInclude": "*",
        "InboundInterceptionMode": "TPROXY",
        "OutboundIPRangesExclude": "1.1.0.0/16",
        "OutboundIPRangesInclude": "9.9.0.0/16",
        "DryRun": True,
        "RedirectDNS": True,
        "DNSServersV4": ["127.0.0.53"],
        "ExcludeInterfaces": "not-istio-nic",
        "EnableIPv6": True,
    },
}


def goldens() -> dict[str, PodConfig]:
    """Return the configurations of golden files whose text the tests have, by name."""
    return _configs(_CASES)


def larger_goldens() -> dict[str, PodConfig]:
    """Return the configurations of Istio's other golden files, by name."""
    return _configs(_LARGER)


def _configs(cases: dict[str, dict[str, object]]) -> dict[str, PodConfig]:
    groups = tuple(GROUPS.items())
    return {
        name: replace(
            from_istio(values),
            proxy_identity=ProxyIdentity.OWNER,
            owner_group_ids=groups,
        )
        for name, values in cases.items()
    }
