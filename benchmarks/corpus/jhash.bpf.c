// SPDX-License-Identifier: Apache-2.0
/* The C twin of jhash.py. */
#include "corpus.bpf.h"

#define JHASH_INITVAL 0xdeadbeef
#define QUEUES 64
#define SEED 0x5eed

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, __u64);
} queues SEC(".maps");

#define mix(a, b, c)                                                           \
	do {                                                                   \
		a -= c; a ^= rotl32(c, 4); c += b;                             \
		b -= a; b ^= rotl32(a, 6); a += c;                             \
		c -= b; c ^= rotl32(b, 8); b += a;                             \
		a -= c; a ^= rotl32(c, 16); c += b;                            \
		b -= a; b ^= rotl32(a, 19); a += c;                            \
		c -= b; c ^= rotl32(b, 4); b += a;                             \
	} while (0)

#define final(a, b, c)                                                         \
	do {                                                                   \
		c ^= b; c -= rotl32(b, 14);                                    \
		a ^= c; a -= rotl32(c, 11);                                    \
		b ^= a; b -= rotl32(a, 25);                                    \
		c ^= b; c -= rotl32(b, 16);                                    \
		a ^= c; a -= rotl32(c, 4);                                     \
		b ^= a; b -= rotl32(a, 14);                                    \
		c ^= b; c -= rotl32(b, 24);                                    \
	} while (0)

SEC("xdp")
int spread_ipv6(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip = data + IP_OFFSET;
	struct ports *ports = (void *)(ip + 1);
	__u32 a, b, c, queue;
	__u64 *seen;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IPV6))
		return XDP_PASS;
	if ((void *)(ip + 1) > end || (void *)(ports + 1) > end)
		return XDP_PASS;
	a = b = c = JHASH_INITVAL + (10 << 2) + SEED;
	a += ip->saddr.in6_u.u6_addr32[0];
	b += ip->saddr.in6_u.u6_addr32[1];
	c += ip->saddr.in6_u.u6_addr32[2];
	mix(a, b, c);
	a += ip->saddr.in6_u.u6_addr32[3];
	b += ip->daddr.in6_u.u6_addr32[0];
	c += ip->daddr.in6_u.u6_addr32[1];
	mix(a, b, c);
	a += ip->daddr.in6_u.u6_addr32[2];
	b += ip->daddr.in6_u.u6_addr32[3];
	c += (__u32)ports->source << 16 | ports->target;
	mix(a, b, c);
	a += ip->nexthdr;
	final(a, b, c);
	queue = c & (QUEUES - 1);
	seen = bpf_map_lookup_elem(&queues, &queue);
	if (seen)
		*seen += 1;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
