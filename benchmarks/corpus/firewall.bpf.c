// SPDX-License-Identifier: Apache-2.0
/* The C twin of firewall.py. */
#include "corpus.bpf.h"

#define FRAGMENT_OFFSET 0x1fff

enum reason { PASSED, MALFORMED, FRAGMENT, SOURCE, PORT, OTHER, REASONS };

struct prefix4 {
	__u32 length;
	__be32 address;
};

struct prefix6 {
	__u32 length;
	struct in6_addr address;
};

struct service {
	__u16 port;
	__u8 protocol;
	__u8 padding;
};

struct count {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix4);
	__type(value, __u32);
} blocked4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix6);
	__type(value, __u32);
} blocked6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct service);
	__type(value, __u32);
} allowed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

static __always_inline __u32 check_port(void *transport, void *end, __u8 protocol)
{
	struct ports *ports = transport;
	struct service service = {};

	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		return PASSED;
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return OTHER;
	if ((void *)(ports + 1) > end)
		return MALFORMED;
	service.port = bpf_ntohs(ports->target);
	service.protocol = protocol;
	if (!bpf_map_lookup_elem(&allowed, &service))
		return PORT;
	return PASSED;
}

static __always_inline __u32 check4(struct iphdr *ip, void *end)
{
	struct prefix4 prefix = { .length = 32 };

	if ((void *)(ip + 1) > end || ip->ihl < 5)
		return MALFORMED;
	if (bpf_ntohs(ip->frag_off) & FRAGMENT_OFFSET)
		return FRAGMENT;
	prefix.address = ip->saddr;
	if (bpf_map_lookup_elem(&blocked4, &prefix))
		return SOURCE;
	return check_port((void *)ip + ip->ihl * 4, end, ip->protocol);
}

static __always_inline __u32 check6(struct ipv6hdr *ip, void *end)
{
	struct prefix6 prefix = { .length = 128 };

	if ((void *)(ip + 1) > end)
		return MALFORMED;
	prefix.address = ip->saddr;
	if (bpf_map_lookup_elem(&blocked6, &prefix))
		return SOURCE;
	return check_port(ip + 1, end, ip->nexthdr);
}

static __always_inline __u32 check(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct vlan *tag = (void *)(eth + 1);
	void *network = tag;
	__be16 protocol;

	if ((void *)(eth + 1) > end)
		return MALFORMED;
	protocol = eth->h_proto;
	if (protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD)) {
		if ((void *)(tag + 1) > end)
			return MALFORMED;
		protocol = tag->protocol;
		network = tag + 1;
	}
	if (protocol == bpf_htons(ETH_P_IP))
		return check4(network, end);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return check6(network, end);
	return PASSED;
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 reason = check(data, end);
	struct count *count = bpf_map_lookup_elem(&counts, &reason);

	if (count) {
		count->packets += 1;
		count->bytes += end - data;
	}
	return reason == PASSED ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
