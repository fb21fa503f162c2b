// SPDX-License-Identifier: Apache-2.0
/* The C twin of bloom.py. */
#include "corpus.bpf.h"

#define WORDS 1024
#define BITS (WORDS * 64)

enum { NEW, KNOWN };

struct filter {
	__u64 words[WORDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct filter);
} filters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} flows SEC(".maps");

static __always_inline __u64 mix(__u64 value)
{
	value = (value ^ value >> 33) * 0xff51afd7ed558ccdULL;
	value = (value ^ value >> 33) * 0xc4ceb9fe1a85ec53ULL;
	return value ^ value >> 33;
}

static __always_inline int mark(struct filter *bloom, __u32 position)
{
	__u32 word = position >> 6 & (WORDS - 1);
	__u64 bit = 1ULL << (position & 63);
	__u64 old = bloom->words[word];

	bloom->words[word] = old | bit;
	return (old & bit) != 0;
}

static __always_inline int was_seen(struct filter *bloom, __u64 h)
{
	__u32 first = h, step = h >> 32;
	int i, seen = 1;

	for (i = 0; i < 4; i++)
		if (!mark(bloom, (first + i * step) % BITS))
			seen = 0;
	return seen;
}

static __always_inline void count(__u32 which)
{
	__u64 *seen = bpf_map_lookup_elem(&flows, &which);

	if (seen)
		*seen += 1;
}

SEC("xdp")
int new_flows(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;
	struct ports *ports = (void *)(ip + 1);
	__u64 addresses, rest;
	struct filter *bloom;
	__u32 zero = 0;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end || *(__u8 *)ip != 0x45)
		return XDP_PASS;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	if ((void *)(ports + 1) > end)
		return XDP_PASS;
	bloom = bpf_map_lookup_elem(&filters, &zero);
	if (!bloom)
		return XDP_PASS;
	addresses = (__u64)ip->saddr << 32 | ip->daddr;
	rest = (__u64)ports->source << 32 | (__u32)ports->target << 16 | ip->protocol;
	if (was_seen(bloom, mix(addresses ^ mix(rest))))
		count(KNOWN);
	else
		count(NEW);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
