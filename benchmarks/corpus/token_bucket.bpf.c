// SPDX-License-Identifier: Apache-2.0
/* The C twin of token_bucket.py. */
#include "corpus.bpf.h"

#define NANOSECONDS 1000000000ULL

enum { PASSED, LIMITED };

struct bucket {
	__u64 tokens;
	__u64 filled_ns;
};

struct limits {
	__u64 rate;
	__u64 burst;
} limits = { .rate = 1000, .burst = 100 };

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct bucket);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

static __always_inline void count(__u32 verdict)
{
	__u64 *seen = bpf_map_lookup_elem(&verdicts, &verdict);

	if (seen)
		*seen += 1;
}

static __always_inline __u64 min(__u64 a, __u64 b)
{
	return a < b ? a : b;
}

static __always_inline int take(struct bucket *bucket, __u64 now)
{
	__u64 elapsed = min(now - bucket->filled_ns, NANOSECONDS);
	__u64 earned = elapsed * limits.rate / NANOSECONDS;

	if (earned) {
		bucket->tokens = min(bucket->tokens + earned, limits.burst);
		bucket->filled_ns = now;
	}
	if (bucket->tokens == 0)
		return 0;
	bucket->tokens -= 1;
	return 1;
}

SEC("xdp")
int limit(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;
	struct bucket *bucket, first;
	__u32 source;
	__u64 now;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	source = ip->saddr;
	now = bpf_ktime_get_ns();
	bucket = bpf_map_lookup_elem(&buckets, &source);
	if (!bucket) {
		first.tokens = limits.burst - 1;
		first.filled_ns = now;
		bpf_map_update_elem(&buckets, &source, &first, BPF_ANY);
		count(PASSED);
		return XDP_PASS;
	}
	if (take(bucket, now)) {
		count(PASSED);
		return XDP_PASS;
	}
	count(LIMITED);
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
