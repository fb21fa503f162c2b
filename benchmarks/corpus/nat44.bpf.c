// SPDX-License-Identifier: Apache-2.0
/* The C twin of nat44.py. */
#include "corpus.bpf.h"

struct outside {
	__be32 address;
	__be16 port;
	__u16 protocol;
};

struct inside {
	__be32 address;
	__be16 port;
	__u16 padding;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct outside);
	__type(value, struct inside);
} mappings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} translated SEC(".maps");

static __always_inline __u16 mended(__u16 check, __u32 before, __u32 after)
{
	__u32 sum = (__u16)~check;

	sum += (__u16)~before + (__u16)(~before >> 16);
	sum += (after & 0xffff) + (after >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline void count(__u32 address)
{
	__u64 one = 1, *seen = bpf_map_lookup_elem(&translated, &address);

	if (seen) {
		*seen += 1;
	} else if (bpf_map_update_elem(&translated, &address, &one, BPF_NOEXIST)) {
		seen = bpf_map_lookup_elem(&translated, &address);
		if (seen)
			*seen += 1;
	}
}

SEC("xdp")
int nat44(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;
	struct ports *ports = (void *)(ip + 1);
	struct tcphdr *tcp = (void *)ports;
	struct udphdr *udp = (void *)ports;
	struct outside key = {};
	struct inside *inside;
	__be32 address;
	__be16 port;
	__u16 check;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end || *(__u8 *)ip != 0x45)
		return XDP_PASS;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	if ((void *)(ports + 1) > end)
		return XDP_PASS;
	key.address = ip->daddr;
	key.port = ports->target;
	key.protocol = ip->protocol;
	inside = bpf_map_lookup_elem(&mappings, &key);
	if (!inside)
		return XDP_PASS;
	address = inside->address;
	port = inside->port;
	if (ip->protocol == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end)
			return XDP_PASS;
		check = mended(tcp->check, ip->daddr, address);
		tcp->check = mended(check, tcp->dest, port);
	} else {
		if ((void *)(udp + 1) > end)
			return XDP_PASS;
		if (udp->check != 0) {
			check = mended(udp->check, ip->daddr, address);
			udp->check = mended(check, udp->dest, port);
		}
	}
	ip->check = mended(ip->check, ip->daddr, address);
	ip->daddr = address;
	ports->target = port;
	count(address);
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
