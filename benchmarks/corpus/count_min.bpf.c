// SPDX-License-Identifier: Apache-2.0
/* The C twin of count_min.py. */
#include "corpus.bpf.h"

#define COLUMNS 512
#define HEAVY 1000

struct sketch {
	__u32 row0[COLUMNS];
	__u32 row1[COLUMNS];
	__u32 row2[COLUMNS];
	__u32 row3[COLUMNS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sketch);
} sketches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} hitters SEC(".maps");

static __always_inline __u32 scramble(__u32 value, __u32 factor)
{
	__u32 h = value * factor;

	h = (h ^ h >> 15) * 0x2c1b3c6d;
	return (h ^ h >> 16) & (COLUMNS - 1);
}

static __always_inline __u32 min(__u32 a, __u32 b)
{
	return a < b ? a : b;
}

static __always_inline __u32 add(struct sketch *sketch, __u32 value)
{
	__u32 column0 = scramble(value, 0x9e3779b1);
	__u32 column1 = scramble(value, 0x85ebca6b);
	__u32 column2 = scramble(value, 0xc2b2ae35);
	__u32 column3 = scramble(value, 0x27d4eb2f);

	sketch->row0[column0] += 1;
	sketch->row1[column1] += 1;
	sketch->row2[column2] += 1;
	sketch->row3[column3] += 1;
	return min(min(sketch->row0[column0], sketch->row1[column1]),
		   min(sketch->row2[column2], sketch->row3[column3]));
}

SEC("xdp")
int heavy_hitters(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;
	struct sketch *sketch;
	__u32 source, zero = 0;
	__u64 estimate;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	sketch = bpf_map_lookup_elem(&sketches, &zero);
	if (!sketch)
		return XDP_PASS;
	estimate = add(sketch, ip->saddr);
	if (estimate >= HEAVY) {
		source = ip->saddr;
		bpf_map_update_elem(&hitters, &source, &estimate, BPF_ANY);
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
