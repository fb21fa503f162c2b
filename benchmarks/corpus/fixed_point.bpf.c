// SPDX-License-Identifier: Apache-2.0
/* The C twin of fixed_point.py. */
#include "corpus.bpf.h"

#define ONE (1 << 16)
#define QUEUES 64
#define LN2 45426
#define DECAY_SHIFT 20

struct signal {
	__u64 last_ns;
	__u64 rate;
	__u32 log_rate;
	__u32 decibel;
	__u64 score;
	__u64 peak;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, struct signal);
} signals SEC(".maps");

static __always_inline __u64 multiply(__u64 a, __u64 b)
{
	return a * (b >> 16) + (a * (b & 0xffff) >> 16);
}

static __always_inline __u32 log2(__u64 x)
{
	__u32 whole = 0, result, shift;
	__u64 rest = x, mantissa;
	int i;

	for (i = 0; i < 6; i++) {
		shift = 32 >> i;
		if (rest >> shift) {
			rest >>= shift;
			whole += shift;
		}
	}
	mantissa = x << (63 - whole) >> 32;
	result = whole << 16;
	for (i = 0; i < 8; i++) {
		mantissa = mantissa * mantissa >> 31;
		if (mantissa >> 32) {
			mantissa >>= 1;
			result += 0x8000 >> i;
		}
	}
	return result;
}

static __always_inline __u64 exp2_negative(__u64 x)
{
	__u64 whole = x >> 16, f = x & 0xffff, t, t2, t3;

	if (whole > 30)
		return 0;
	t = f * LN2 >> 16;
	t2 = t * t >> 16;
	t3 = t2 * t >> 16;
	return (ONE - t + (t2 >> 1) - t3 / 6) >> whole;
}

static __always_inline void update(struct signal *s, __u64 now, __u32 size)
{
	__u64 elapsed = now - s->last_ns;
	__u64 factor = exp2_negative(elapsed << 16 >> DECAY_SHIFT);
	__u64 rate = multiply(factor, s->rate) + ((__u64)size << 16);
	__u32 level;

	s->last_ns = now;
	s->rate = rate;
	level = log2((rate >> 16) + 1);
	s->log_rate = level;
	s->decibel = (__u64)level * 197283 >> 16;
	s->score = multiply(level, level) + (level >> 2);
	s->peak = s->peak > rate ? s->peak : rate;
}

SEC("xdp")
int measure_signal(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__u32 queue = ctx->rx_queue_index & (QUEUES - 1);
	struct signal *s;

	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	s = bpf_map_lookup_elem(&signals, &queue);
	if (s)
		update(s, bpf_ktime_get_coarse_ns(), end - data);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
