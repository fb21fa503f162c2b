// SPDX-License-Identifier: Apache-2.0
/* The C twin of statistics.py. Instruction set v3 has no signed division: divide() below
 * is what a C author writes in its place. */
#include "corpus.bpf.h"

#define QUEUES 32
#define FRACTION 8
#define ROUNDS 18

struct moments {
	__u64 count;
	__s64 mean;
	__u64 squares;
	__s64 jitter;
	__s64 last;
	__u32 deviation;
	__u32 outliers;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, struct moments);
} moments SEC(".maps");

static __always_inline __u32 square_root(__u64 value)
{
	__u64 root = 1 << 16;
	int i;

	for (i = 0; i < ROUNDS; i++)
		root = (root + value / root) >> 1;
	return root;
}

static __always_inline __s64 absolute(__s64 value)
{
	return value < 0 ? -value : value;
}

static __always_inline __s64 divide(__s64 a, __s64 b)
{
	__u64 quotient = (__u64)absolute(a) / (__u64)absolute(b);

	return (a < 0) == (b < 0) ? quotient : -quotient;
}

static __always_inline void update(struct moments *m, __s64 size)
{
	__s64 scaled = size << FRACTION, before, after, product, limit;
	__u64 variance;

	m->count += 1;
	before = scaled - m->mean;
	m->mean += divide(before, m->count);
	after = scaled - m->mean;
	product = before * after;
	if (product > 0)
		m->squares += product >> FRACTION * 2;
	m->jitter += divide(absolute(scaled - m->last) - m->jitter, 16);
	m->last = scaled;
	variance = m->squares / m->count;
	if (variance > 0x7fffffff)
		variance = 0x7fffffff;
	m->deviation = square_root(variance);
	limit = (__s64)m->deviation * 3 << FRACTION;
	if (absolute(scaled - m->mean) > limit)
		m->outliers += 1;
}

SEC("xdp")
int size_moments(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__u32 queue = ctx->rx_queue_index % QUEUES;
	struct moments *m;

	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	m = bpf_map_lookup_elem(&moments, &queue);
	if (m)
		update(m, end - data);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
