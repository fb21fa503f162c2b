// SPDX-License-Identifier: Apache-2.0
/* The C twin of bits.py. */
#include "corpus.bpf.h"

struct features {
	__u32 ones;
	__u32 common_prefix;
	__u32 lowest;
	__u32 parity;
	__u32 reversed;
	__u32 gray;
	__u64 morton;
	__u32 rounded;
	__u32 average;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct features);
} features SEC(".maps");

static __always_inline __u32 population(__u32 x)
{
	x = x - (x >> 1 & 0x55555555);
	x = (x & 0x33333333) + (x >> 2 & 0x33333333);
	x = (x + (x >> 4)) & 0x0f0f0f0f;
	return x * 0x01010101 >> 24;
}

static __always_inline __u32 smear(__u32 x)
{
	x |= x >> 1;
	x |= x >> 2;
	x |= x >> 4;
	x |= x >> 8;
	x |= x >> 16;
	return x;
}

static __always_inline __u32 reverse(__u32 x)
{
	x = (x >> 1 & 0x55555555) | (x & 0x55555555) << 1;
	x = (x >> 2 & 0x33333333) | (x & 0x33333333) << 2;
	x = (x >> 4 & 0x0f0f0f0f) | (x & 0x0f0f0f0f) << 4;
	x = (x >> 8 & 0x00ff00ff) | (x & 0x00ff00ff) << 8;
	return x >> 16 | x << 16;
}

static __always_inline __u64 spread(__u64 x)
{
	x = (x | x << 16) & 0x0000ffff0000ffffULL;
	x = (x | x << 8) & 0x00ff00ff00ff00ffULL;
	x = (x | x << 4) & 0x0f0f0f0f0f0f0f0fULL;
	x = (x | x << 2) & 0x3333333333333333ULL;
	return (x | x << 1) & 0x5555555555555555ULL;
}

SEC("xdp")
int address_bits(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;
	__u32 source, target, ones;
	struct features *f;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	source = bpf_ntohl(ip->saddr);
	target = bpf_ntohl(ip->daddr);
	ones = population(source);
	f = bpf_map_lookup_elem(&features, &ones);
	if (!f)
		return XDP_PASS;
	f->ones = ones;
	f->common_prefix = 32 - population(smear(source ^ target));
	f->lowest = population((source & -source) - 1);
	f->parity = (population(source) ^ population(target)) & 1;
	f->reversed = reverse(source);
	f->gray = source ^ source >> 1;
	f->morton = spread(source) | spread(target) << 1;
	f->rounded = smear(source - 1) + 1;
	f->average = (source & target) + ((source ^ target) >> 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
