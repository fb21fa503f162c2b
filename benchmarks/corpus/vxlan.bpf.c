// SPDX-License-Identifier: Apache-2.0
/* The C twin of vxlan.py. */
#include "corpus.bpf.h"

#define VXLAN_PORT 4789
#define VALID_VNI 0x08
#define INNER (UDP_PAYLOAD + 8)

enum outcome { PASSED, MALFORMED, UNKNOWN, SPOOFED, OTHER, OUTCOMES };

struct vxlan {
	__u8 flags;
	__u8 reserved;
	__be16 group;
	__be32 vni;
};

struct tenant {
	__be32 network4;
	__be32 mask4;
	__be32 network6[2];
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct tenant);
} tenants SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

static __always_inline __u32 check_inner(void *data, void *end, struct tenant *tenant)
{
	struct ethhdr *eth = data + INNER;
	struct iphdr *ip4 = (void *)(eth + 1);
	struct ipv6hdr *ip6 = (void *)(eth + 1);

	if ((void *)(eth + 1) > end)
		return MALFORMED;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		if ((void *)(ip4 + 1) > end)
			return MALFORMED;
		if ((ip4->saddr & tenant->mask4) != tenant->network4)
			return SPOOFED;
		return PASSED;
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		if ((void *)(ip6 + 1) > end)
			return MALFORMED;
		if (ip6->saddr.in6_u.u6_addr32[0] != tenant->network6[0] ||
		    ip6->saddr.in6_u.u6_addr32[1] != tenant->network6[1])
			return SPOOFED;
		return PASSED;
	}
	return eth->h_proto == bpf_htons(ETH_P_ARP) ? PASSED : OTHER;
}

static __always_inline __u32 check(void *data, void *end)
{
	struct vxlan *vxlan = data + UDP_PAYLOAD;
	struct tenant *tenant;
	__u32 vni, outcome;

	if ((void *)(vxlan + 1) > end || !(vxlan->flags & VALID_VNI))
		return MALFORMED;
	vni = bpf_ntohl(vxlan->vni) >> 8;
	tenant = bpf_map_lookup_elem(&tenants, &vni);
	if (!tenant)
		return UNKNOWN;
	outcome = check_inner(data, end, tenant);
	if (outcome == PASSED) {
		__sync_fetch_and_add(&tenant->packets, 1);
		__sync_fetch_and_add(&tenant->bytes, end - data - INNER);
	}
	return outcome;
}

SEC("xdp")
int vxlan_guard(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct udphdr *udp = data + IP_OFFSET + 20;
	__u32 outcome;
	__u64 *seen;

	if (!is_plain_udp(ctx))
		return XDP_PASS;
	if ((void *)(udp + 1) > end || udp->dest != bpf_htons(VXLAN_PORT))
		return XDP_PASS;
	outcome = check(data, end);
	seen = bpf_map_lookup_elem(&outcomes, &outcome);
	if (seen)
		*seen += 1;
	return outcome == PASSED ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
