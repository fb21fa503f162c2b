"""Random configurations, and the spellings of their values."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import strategies as st

from beewire.mesh.config import ALL, Bypass, InterceptionMode, PodConfig, ProxyIdentity

ports = st.integers(1, 65535)
port_lists = st.lists(ports, max_size=4).map(tuple)
ids = st.integers(0, 2**32 - 2)
id_lists = st.lists(ids, max_size=3).map(tuple)
names = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)
interfaces = st.lists(names, max_size=3).map(tuple)
groups = st.lists(names | ids.map(str), max_size=3).map(tuple)
ranges4 = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
ranges6 = st.builds(
    lambda address, length: IPv6Network((address, length), strict=False),
    st.integers(2**125, 2**128 - 1),
    st.integers(1, 128),
)
range_lists = st.lists(ranges4 | ranges6, max_size=4).map(tuple)
configs = st.builds(
    PodConfig,
    proxy_port=ports,
    inbound_capture_port=ports,
    inbound_tunnel_port=ports,
    proxy_uid=id_lists,
    proxy_gid=id_lists,
    inbound_interception_mode=st.sampled_from(InterceptionMode),
    inbound_tproxy_mark=st.integers(1, 1337),
    inbound_tproxy_route_table=st.integers(1, 2**31 - 1),
    inbound_ports_include=st.just(ALL) | port_lists,
    inbound_ports_exclude=port_lists,
    outbound_ports_include=port_lists,
    outbound_ports_exclude=port_lists,
    outbound_ip_ranges_include=st.just(ALL) | range_lists,
    outbound_ip_ranges_exclude=range_lists,
    reroute_virtual_interfaces=interfaces,
    exclude_interfaces=interfaces,
    owner_groups_include=st.just(ALL) | groups,
    owner_groups_exclude=groups,
    redirect_dns=st.booleans(),
    capture_all_dns=st.booleans(),
    dns_servers_v4=st.lists(st.integers(0, 2**32 - 1).map(IPv4Address), max_size=2).map(
        tuple
    ),
    dns_servers_v6=st.lists(
        st.integers(0, 2**128 - 1).map(IPv6Address), max_size=2
    ).map(tuple),
    host_ipv4_loopback_cidr=st.sampled_from(
        [IPv4Network("127.0.0.1/32"), IPv4Network("127.0.0.0/8")]
    ),
    enable_ipv6=st.booleans(),
    drop_invalid=st.booleans(),
    dual_stack=st.booleans(),
    proxy_identity=st.sampled_from(ProxyIdentity),
    owner_group_ids=st.dictionaries(names, ids, max_size=2).map(
        lambda pairs: tuple(sorted(pairs.items()))
    ),
    dns_alias=st.booleans(),
    bypass=st.sampled_from(Bypass),
    shortcut=st.booleans(),
    splice=st.booleans(),
)
