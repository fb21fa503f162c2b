"""Every knob of Istio's interception: where it is turned, and what Beewire does with it.

One row a knob. Readers of annotations, flags, variables, Helm values and files take its
names and its kind of value from here, and docs/mesh/knobs.md is made of it.
"""

from enum import Enum
from typing import Final, NamedTuple

from beewire.mesh.config import values
from beewire.mesh.config.pod import ALL, PodConfig
from beewire.mesh.config.values import Kind

INTERCEPTION_MODE: Final = "sidecar.istio.io/interceptionMode"
STATUS_PORT: Final = "status.sidecar.istio.io/port"
REROUTE: Final = "istio.io/reroute-virtual-interfaces"
TRAFFIC: Final = "traffic.sidecar.istio.io/"
BEEWIRE: Final = "beewire.io/"
KUBEVIRT: Final = TRAFFIC + "kubevirtInterfaces"  # deprecated: REROUTE is preferred

# Envoy's health, merged metrics and Prometheus ports: never captured in a pod.
SIDECAR_PORTS: Final = (15020, 15021, 15090)


class Support(Enum):
    """What Beewire does with a knob."""

    HONOURED = "honoured"
    DELTA = "delta"  # honoured but for a difference that the row names
    UNNEEDED = "not needed"  # it arranges what Beewire does without
    REFUSED = "refused"


class Knob(NamedTuple):
    """One knob.

    `name` is the field of PodConfig; `status_port` and `dns_servers` end in several
    fields. `variables` are read in this order, the last one wins. `path` is the knob's
    place in a Beewire file, `helm` in Istio's values. `pod_default` is what a pod gets
    without annotations; istio-iptables without flags gets PodConfig's own default.
    `unsaid` tells what holds where nothing is said, if no value does.
    """

    name: str
    does: str
    kind: Kind
    path: str
    support: Support
    parity: str
    annotations: tuple[str, ...] = ()
    flag: str = ""
    short: str = ""
    variables: tuple[str, ...] = ()
    helm: str = ""
    istio: tuple[str, ...] = ()
    pod_default: object = None
    unsaid: str = ""

    @property
    def is_beewires(self) -> bool:
        """Whether its annotation is Beewire's own, of which Istio knows nothing."""
        return any(name.startswith(BEEWIRE) for name in self.annotations)

    @property
    def default(self) -> object:
        """What istio-iptables takes where nothing is said."""
        if self.name == "status_port":
            return None
        if self.name == "dns_servers":
            return ()
        default: object = getattr(PodConfig(), self.name)
        return default


_PROXY_METADATA = "meshConfig.defaultConfig.proxyMetadata."

KNOBS: Final = (
    Knob(
        "inbound_interception_mode",
        "how inbound connections reach the sidecar",
        values.MODE,
        "inbound.mode",
        Support.HONOURED,
        "`TPROXY` keeps the client's address, for the application as well: the connection is"
        " handed to the sidecar's own listener. `NONE` leaves the pod alone.",
        annotations=(INTERCEPTION_MODE,),
        flag="istio-inbound-interception-mode",
        short="m",
        variables=("ISTIO_INBOUND_INTERCEPTION_MODE",),
        helm="meshConfig.defaultConfig.interceptionMode",
        istio=("InboundInterceptionMode",),
    ),
    Knob(
        "inbound_ports_include",
        "inbound ports that are captured; empty: none",
        values.PORTS_OR_ALL,
        "inbound.ports",
        Support.HONOURED,
        "In mode `REDIRECT` the tunnel's port is never captured, as in Istio.",
        annotations=(TRAFFIC + "includeInboundPorts",),
        flag="istio-inbound-ports",
        short="b",
        variables=("ISTIO_INBOUND_PORTS",),
        helm="global.proxy.includeInboundPorts",
        istio=("InboundPortsInclude",),
        pod_default=ALL,
    ),
    Knob(
        "inbound_ports_exclude",
        "inbound ports that are not captured, where all are",
        values.EXCLUDED_PORTS,
        "inbound.exclude_ports",
        Support.HONOURED,
        "In a pod, 15020, 15021, 15090 and the status port are added.",
        annotations=(TRAFFIC + "excludeInboundPorts",),
        flag="istio-local-exclude-ports",
        short="d",
        variables=("ISTIO_LOCAL_EXCLUDE_PORTS",),
        helm="global.proxy.excludeInboundPorts",
        istio=("InboundPortsExclude",),
        pod_default=(),
    ),
    Knob(
        "status_port",
        "the sidecar's status port: not captured inbound; 0: it has none",
        values.STATUS_PORT,
        "proxy.status_port",
        Support.HONOURED,
        "",
        annotations=(STATUS_PORT,),
        helm="global.proxy.statusPort",
    ),
    Knob(
        "outbound_ip_ranges_include",
        "destinations that are captured; empty: none by their address",
        values.RANGES_OR_ALL,
        "outbound.ranges",
        Support.HONOURED,
        "A loopback range has the pod's calls to itself captured, too, as in Istio.",
        annotations=(TRAFFIC + "includeOutboundIPRanges",),
        flag="istio-service-cidr",
        short="i",
        variables=("ISTIO_SERVICE_CIDR",),
        helm="global.proxy.includeIPRanges",
        istio=("OutboundIPRangesInclude",),
        pod_default=ALL,
    ),
    Knob(
        "outbound_ip_ranges_exclude",
        "destinations that are not captured",
        values.EXCLUDED_RANGES,
        "outbound.exclude_ranges",
        Support.HONOURED,
        "",
        annotations=(TRAFFIC + "excludeOutboundIPRanges",),
        flag="istio-service-exclude-cidr",
        short="x",
        variables=("ISTIO_SERVICE_EXCLUDE_CIDR",),
        helm="global.proxy.excludeIPRanges",
        istio=("OutboundIPRangesExclude",),
        pod_default=(),
    ),
    Knob(
        "outbound_ports_include",
        "ports that are captured whatever the address is, unless its range is excluded",
        values.PORTS,
        "outbound.ports",
        Support.HONOURED,
        "In addition to the ranges, as in Istio.",
        annotations=(TRAFFIC + "includeOutboundPorts",),
        flag="istio-outbound-ports",
        short="q",
        variables=("ISTIO_OUTBOUND_PORTS",),
        helm="global.proxy.includeOutboundPorts",
        istio=("OutboundPortsInclude",),
        pod_default=(),
    ),
    Knob(
        "outbound_ports_exclude",
        "ports that are never captured outbound, TCP and UDP; this comes first",
        values.EXCLUDED_PORTS,
        "outbound.exclude_ports",
        Support.HONOURED,
        "15020 where a pod says nothing, as Istio's CNI plugin has it.",
        annotations=(TRAFFIC + "excludeOutboundPorts",),
        flag="istio-local-outbound-ports-exclude",
        short="o",
        variables=("ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE",),
        helm="global.proxy.excludeOutboundPorts",
        istio=("OutboundPortsExclude",),
        pod_default=(15020,),
    ),
    Knob(
        "exclude_interfaces",
        "interfaces whose connections are not captured, neither way",
        values.INTERFACES,
        "interfaces.exclude",
        Support.DELTA,
        "Inbound by the interface of the packet. Outbound by the routes that lead there,"
        " read again when they change: a route chosen by mark or source is not seen.",
        annotations=(TRAFFIC + "excludeInterfaces",),
        flag="istio-exclude-interfaces",
        short="c",
        variables=("ISTIO_EXCLUDE_INTERFACES",),
        istio=("ExcludeInterfaces",),
        pod_default=(),
    ),
    Knob(
        "reroute_virtual_interfaces",
        "interfaces of virtual machines, whose traffic is treated as outbound",
        values.INTERFACES,
        "interfaces.reroute",
        Support.REFUSED,
        "Istio redirects what arrives there to the sidecar in PREROUTING. Those packets"
        " are forwarded: no socket of the pod sends them, so there is nothing at the"
        " socket layer to decide. Such pods keep istio-iptables.",
        annotations=(KUBEVIRT, REROUTE),
        flag="kube-virt-interfaces",
        short="k",
        variables=("KUBE_VIRT_INTERFACES",),
        istio=("RerouteVirtualInterfaces",),
        pod_default=(),
    ),
    Knob(
        "owner_groups_include",
        "groups whose outbound connections are captured",
        values.GROUPS_OR_ALL,
        "outbound.groups",
        Support.HONOURED,
        "Any number of groups; Istio takes 64. Names need a number in `group_ids`.",
        variables=("ISTIO_OUTBOUND_OWNER_GROUPS",),
        istio=("OwnerGroupsInclude",),
    ),
    Knob(
        "owner_groups_exclude",
        "groups whose outbound connections are not captured, where all are",
        values.GROUPS,
        "outbound.exclude_groups",
        Support.HONOURED,
        "The group of the process that connects; iptables takes the socket's, which"
        " differs where a socket was handed on, or its process changed its group.",
        variables=("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",),
        istio=("OwnerGroupsExclude",),
    ),
    Knob(
        "owner_group_ids",
        "the numbers of groups that are named",
        values.GROUP_IDS,
        "outbound.group_ids",
        Support.HONOURED,
        "Istio asks the /etc/group of whoever runs iptables.",
    ),
    Knob(
        "host_ipv4_loopback_cidr",
        "IPv4 addresses that count as this pod's localhost",
        values.LOOPBACK,
        "outbound.loopback",
        Support.HONOURED,
        "IPv6 has ::1.",
        variables=("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",),
        istio=("HostIPv4LoopbackCidr",),
    ),
    Knob(
        "redirect_dns",
        "DNS questions go to istio-agent's resolver, port 15053",
        values.SWITCH,
        "dns.capture",
        Support.HONOURED,
        "A pod's `ISTIO_META_DNS_CAPTURE` captures all of them, as with Istio's CNI plugin.",
        flag="redirect-dns",
        variables=("REDIRECT_DNS", "ISTIO_META_DNS_CAPTURE"),
        helm=_PROXY_METADATA + "ISTIO_META_DNS_CAPTURE",
        istio=("RedirectDNS",),
    ),
    Knob(
        "capture_all_dns",
        "those to any address, not only to the resolvers of /etc/resolv.conf",
        values.SWITCH,
        "dns.all",
        Support.HONOURED,
        "",
        flag="capture-all-dns",
        variables=("CAPTURE_ALL_DNS",),
        istio=("CaptureAllDNS",),
    ),
    Knob(
        "dns_servers",
        "the resolvers whose questions are captured",
        values.SERVERS,
        "dns.servers",
        Support.HONOURED,
        "Istio reads them from /etc/resolv.conf. So does Beewire: from the file that it is"
        " given, or when a pod is enrolled, from that of its sidecar.",
        istio=("DNSServersV4", "DNSServersV6"),
    ),
    Knob(
        "dns_alias",
        "each resolver has an address of its own at the sidecar",
        values.SWITCH,
        "dns.alias",
        Support.HONOURED,
        "Beewire's own: exact for questions to several resolvers at once in one socket,"
        " with a listener that answers from the address it was asked at.",
    ),
    Knob(
        "drop_invalid",
        "packets that conntrack calls invalid are dropped",
        values.SWITCH,
        "drop_invalid",
        Support.UNNEEDED,
        "It saves translated connections from resets by packets that NAT did not"
        " translate. Beewire translates nothing and tracks nothing.",
        flag="drop-invalid",
        variables=("DROP_INVALID", "INVALID_DROP"),
        helm=_PROXY_METADATA + "INVALID_DROP",
        istio=("DropInvalid",),
    ),
    Knob(
        "dual_stack",
        "IPv6 rules as soon as any address of the pod is IPv6, not only the first",
        values.SWITCH,
        "dual_stack",
        Support.HONOURED,
        "",
        flag="dual-stack",
        variables=("DUAL_STACK", "ISTIO_DUAL_STACK"),
        helm=_PROXY_METADATA + "ISTIO_DUAL_STACK",
        istio=("DualStack",),
    ),
    Knob(
        "enable_ipv6",
        "the same rules for IPv6",
        values.SWITCH,
        "ipv6",
        Support.HONOURED,
        "Where nothing is said, from the pod's addresses, as in Istio. Without it, IPv6 is"
        " not captured, as in Istio.",
        istio=("EnableIPv6",),
    ),
    Knob(
        "proxy_port",
        "the sidecar's outbound listener",
        values.PORT,
        "proxy.outbound_port",
        Support.HONOURED,
        "",
        flag="envoy-port",
        short="p",
        helm="meshConfig.proxyListenPort",
        istio=("ProxyPort",),
    ),
    Knob(
        "inbound_capture_port",
        "the sidecar's inbound listener",
        values.PORT,
        "proxy.inbound_port",
        Support.HONOURED,
        "",
        flag="inbound-capture-port",
        short="z",
        variables=("INBOUND_CAPTURE_PORT",),
        helm="meshConfig.proxyInboundListenPort",
        istio=("InboundCapturePort",),
    ),
    Knob(
        "inbound_tunnel_port",
        "the tunnel's listener (HBONE), never captured",
        values.PORT,
        "proxy.tunnel_port",
        Support.HONOURED,
        "",
        flag="inbound-tunnel-port",
        short="e",
        variables=("INBOUND_TUNNEL_PORT",),
        istio=("InboundTunnelPort",),
    ),
    Knob(
        "proxy_identity",
        "how the sidecar's own connections are known",
        values.IDENTITY,
        "proxy.identity",
        Support.HONOURED,
        "Beewire's own. `owner` is Istio's way: whoever runs as 1337 is not captured.",
    ),
    Knob(
        "proxy_uid",
        "users of the sidecar",
        values.IDS,
        "proxy.uids",
        Support.HONOURED,
        "Where the sidecar is known by its owner. The user of the process that connects;"
        " iptables takes the socket's.",
        flag="proxy-uid",
        short="u",
        variables=("PROXY_UID",),
        istio=("ProxyUID",),
    ),
    Knob(
        "proxy_gid",
        "groups of the sidecar",
        values.IDS,
        "proxy.gids",
        Support.HONOURED,
        "As the users. istio-iptables takes its users for groups where none are named.",
        flag="proxy-gid",
        short="g",
        variables=("PROXY_GID",),
        istio=("ProxyGID",),
    ),
    Knob(
        "inbound_tproxy_mark",
        "the mark of connections that TPROXY takes",
        values.MARK,
        "inbound.tproxy_mark",
        Support.HONOURED,
        "Nothing needs to be marked on the way in. A connection that the sidecar makes with"
        " this mark is its own, and is answered inside the pod, as in Istio.",
        flag="istio-inbound-tproxy-mark",
        short="t",
        variables=("ISTIO_INBOUND_TPROXY_MARK",),
        istio=("InboundTProxyMark",),
    ),
    Knob(
        "inbound_tproxy_route_table",
        "the routing table of those marks",
        values.TABLE,
        "inbound.tproxy_route_table",
        Support.HONOURED,
        "It has one route, by which what bears the mark stays in the pod.",
        flag="istio-inbound-tproxy-route-table",
        short="r",
        variables=("ISTIO_INBOUND_TPROXY_ROUTE_TABLE",),
        istio=("InboundTProxyRouteTable",),
    ),
    Knob(
        "bypass",
        "which connections on one node may leave out the TCP/IP stack",
        values.BYPASS,
        "bypass.tier",
        Support.HONOURED,
        "Beewire's own, and without influence on what is captured. `sidecars`: between"
        " sidecars. `all`: between application and sidecar, too; with it the owner states"
        " that the application neither splices nor blocks. `auto`: between sidecars, to"
        " destinations whose connections were seen to live long. Both pods must allow it,"
        " and the kernel must have qualified ([](bypass.md)).",
        annotations=(BEEWIRE + "bypass",),
        unsaid="`sidecars` where this kernel qualified, else `off`",
    ),
    Knob(
        "shortcut",
        "a sidecar reaches the application of another pod on the node directly, past the"
        " sidecar there",
        values.SWITCH,
        "bypass.shortcut",
        Support.HONOURED,
        "Beewire's own. Both pods must say so, and the sidecar that is left out must have"
        " nothing but TCP to do there: no HTTP, no mTLS, no policy ([](shortcut.md)).",
        annotations=(BEEWIRE + "shortcut",),
    ),
    Knob(
        "splice",
        "an application reaches the application of another pod on the node directly, past"
        " both sidecars",
        values.SWITCH,
        "bypass.splice",
        Support.HONOURED,
        "Beewire's own. As `bypass.shortcut`, and asks the same of both sidecars"
        " ([](shortcut.md)).",
        annotations=(BEEWIRE + "splice",),
    ),
)

KNOB: Final = {knob.name: knob for knob in KNOBS}


class ToolFlag(NamedTuple):
    """A flag that steers istio-iptables itself, not the traffic."""

    flag: str
    short: str
    takes_value: bool
    instead: str


TOOL_FLAGS: Final = (
    ToolFlag("dry-run", "n", False, "`beewire mesh rules` prints and changes nothing"),
    ToolFlag("restore-format", "f", False, "`beewire mesh rules` always prints it"),
    ToolFlag(
        "network-namespace", "", True, "`beewire mesh up --netns` names the namespace"
    ),
    ToolFlag("cni-mode", "", False, "`beewire-cni` is the plugin"),
    ToolFlag("host-nsenter-exec", "", False, "namespaces are entered by setns(2)"),
    ToolFlag(
        "skip-rule-apply", "", False, "`beewire mesh check` only reads a configuration"
    ),
    ToolFlag(
        "run-validation",
        "",
        False,
        "`istio-validation` passes; `beewire mesh status` tells what is captured",
    ),
    ToolFlag("iptables-probe-port", "", True, "nothing is probed through a connection"),
    ToolFlag("probe-timeout", "", True, "nothing is probed through a connection"),
    ToolFlag(
        "iptables-trace-logging", "", False, "`beewire mesh explain` names the rule"
    ),
    ToolFlag(
        "reconcile", "", False, "`beewire mesh update` swaps the whole configuration"
    ),
    ToolFlag("cleanup-only", "", False, "`beewire mesh down` removes a pod's programs"),
    ToolFlag(
        "force-apply", "", False, "`beewire mesh update` swaps the whole configuration"
    ),
    ToolFlag(
        "native-nftables", "", False, "`beewire mesh rules --format nft` prints them"
    ),
    ToolFlag("force-iptables-binary", "", True, "no iptables is run"),
    ToolFlag("force-legacy-iptables", "", False, "no iptables is run"),
    ToolFlag("log_output_level", "", True, "`-v` says what is done"),
    ToolFlag("log_as_json", "", False, "`--json` where a command has it"),
)
