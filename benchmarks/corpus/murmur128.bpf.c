// SPDX-License-Identifier: Apache-2.0
/* The C twin of murmur128.py. */
#include "corpus.bpf.h"

#define C1 0x87c37b91114253d5ULL
#define C2 0x4cf5ad432745937fULL
#define SLOTS 64
#define SEED 0x2a

/* The header of IPv6 from its third half on, its addresses as pairs of 64 bits. */
struct addresses {
	__u64 source[2];
	__u64 target[2];
};

struct hash {
	__u64 low;
	__u64 high;
};

struct server {
	__u64 seed_low;
	__u64 seed_high;
	__u32 weight;
	__u32 mark;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct server);
} servers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} chosen SEC(".maps");

static __always_inline __u64 final(__u64 k)
{
	k = (k ^ k >> 33) * 0xff51afd7ed558ccdULL;
	k = (k ^ k >> 33) * 0xc4ceb9fe1a85ec53ULL;
	return k ^ k >> 33;
}

static __always_inline void absorb(struct hash *h, __u64 first, __u64 second)
{
	h->low ^= rotl64(first * C1, 31) * C2;
	h->low = (rotl64(h->low, 27) + h->high) * 5 + 0x52dce729;
	h->high ^= rotl64(second * C2, 33) * C1;
	h->high = (rotl64(h->high, 31) + h->low) * 5 + 0x38495ab5;
}

static __always_inline void finish(struct hash *h, __u64 tail, __u32 length)
{
	h->low ^= rotl64(tail * C1, 31) * C2;
	h->low ^= length;
	h->high ^= length;
	h->low += h->high;
	h->high += h->low;
	h->low = final(h->low);
	h->high = final(h->high);
	h->low += h->high;
	h->high += h->low;
}

SEC("xdp")
int rendezvous(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip = data + IP_OFFSET;
	struct ports *ports = (void *)(ip + 1);
	struct addresses *addresses = (void *)&ip->saddr;
	struct hash h = { SEED, SEED };
	__u64 best = 0, score, low, high, *seen;
	struct server *server;
	__u32 winner = 0, i, key;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IPV6))
		return XDP_PASS;
	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	if (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP)
		return XDP_PASS;
	if ((void *)(ports + 1) > end)
		return XDP_PASS;
	absorb(&h, addresses->source[0], addresses->source[1]);
	absorb(&h, addresses->target[0], addresses->target[1]);
	finish(&h, ports->source | (__u64)ports->target << 16 | (__u64)ip->nexthdr << 32, 37);
	for (i = 0; i < 4; i++) {
		key = i;
		server = bpf_map_lookup_elem(&servers, &key);
		if (server && server->weight) {
			low = h.low ^ server->seed_low;
			high = h.high ^ server->seed_high;
			score = (final(low + high) >> 32) * server->weight;
			if (score > best) {
				best = score;
				winner = server->mark;
			}
		}
	}
	winner %= SLOTS;
	seen = bpf_map_lookup_elem(&chosen, &winner);
	if (seen)
		*seen += 1;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
