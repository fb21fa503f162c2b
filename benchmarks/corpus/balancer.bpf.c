// SPDX-License-Identifier: Apache-2.0
/* The C twin of balancer.py. */
#include "corpus.bpf.h"

#define RING 256
#define JHASH_INITVAL 0xdeadbeef

struct vip {
	__be32 address;
	__be16 port;
	__u16 protocol;
};

struct service {
	__u32 first;
	__u32 flags;
};

struct backend {
	__be32 address;
	__be16 port;
	__u8 mac[ETH_ALEN];
};

struct flow {
	__be32 source;
	__be32 target;
	__u32 ports;
	__u32 protocol;
};

struct traffic {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct vip);
	__type(value, struct service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16 * RING);
	__type(key, __u32);
	__type(value, __u32);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow);
	__type(value, __u32);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct traffic);
} traffic SEC(".maps");

static __always_inline __u32 jhash_3words(__u32 a, __u32 b, __u32 c, __u32 seed)
{
	__u32 start = JHASH_INITVAL + (3 << 2) + seed;

	a += start;
	b += start;
	c += start;
	c ^= b; c -= rotl32(b, 14);
	a ^= c; a -= rotl32(c, 11);
	b ^= a; b -= rotl32(a, 25);
	c ^= b; c -= rotl32(b, 16);
	a ^= c; a -= rotl32(c, 4);
	b ^= a; b -= rotl32(a, 14);
	c ^= b; c -= rotl32(b, 24);
	return c;
}

static __always_inline __u16 mended(__u16 check, __u32 before, __u32 after)
{
	__u32 sum = (__u16)~check;

	sum += (__u16)~before + (__u16)(~before >> 16);
	sum += (after & 0xffff) + (after >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __u32 pick(struct flow *flow, struct service *service)
{
	__u32 *known = bpf_map_lookup_elem(&flows, flow);
	__u32 *entry, index, backend;

	if (known)
		return *known;
	index = service->first +
		jhash_3words(flow->source, flow->target, flow->ports, flow->protocol) % RING;
	entry = bpf_map_lookup_elem(&ring, &index);
	if (!entry)
		return 0;
	backend = *entry;
	bpf_map_update_elem(&flows, flow, &backend, BPF_ANY);
	return backend;
}

static __always_inline void account(__u32 backend, __u32 size)
{
	struct traffic *seen = bpf_map_lookup_elem(&traffic, &backend);
	struct traffic first = { .packets = 1, .bytes = size };

	if (seen) {
		seen->packets += 1;
		seen->bytes += size;
	} else {
		bpf_map_update_elem(&traffic, &backend, &first, BPF_ANY);
	}
}

SEC("xdp")
int balance(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;
	struct ports *ports = (void *)(ip + 1);
	struct tcphdr *tcp = (void *)ports;
	struct udphdr *udp = (void *)ports;
	struct vip vip = {};
	struct flow flow = {};
	struct service *service;
	struct backend *backend;
	__u32 index;
	__u16 check;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end || *(__u8 *)ip != 0x45)
		return XDP_PASS;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	if ((void *)(ports + 1) > end)
		return XDP_PASS;
	vip.address = ip->daddr;
	vip.port = ports->target;
	vip.protocol = ip->protocol;
	service = bpf_map_lookup_elem(&services, &vip);
	if (!service)
		return XDP_PASS;
	flow.source = ip->saddr;
	flow.target = ip->daddr;
	flow.ports = (__u32)ports->source << 16 | ports->target;
	flow.protocol = ip->protocol;
	index = pick(&flow, service);
	if (index == 0)
		return XDP_DROP;
	backend = bpf_map_lookup_elem(&backends, &index);
	if (!backend)
		return XDP_DROP;
	if (ip->protocol == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end)
			return XDP_DROP;
		check = mended(tcp->check, ip->daddr, backend->address);
		tcp->check = mended(check, tcp->dest, backend->port);
	} else {
		if ((void *)(udp + 1) > end)
			return XDP_DROP;
		if (udp->check != 0) {
			check = mended(udp->check, ip->daddr, backend->address);
			udp->check = mended(check, udp->dest, backend->port);
		}
	}
	ip->check = mended(ip->check, ip->daddr, backend->address);
	ip->daddr = backend->address;
	ports->target = backend->port;
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, backend->mac, ETH_ALEN);
	account(index, end - data);
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
