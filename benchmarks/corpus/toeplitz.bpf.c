// SPDX-License-Identifier: Apache-2.0
/* The C twin of toeplitz.py. */
#include "corpus.bpf.h"

#define QUEUES 16

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, __u64);
} by_queue SEC(".maps");

struct rss_key {
	__u32 words[4];
} key = { { 0x6d5a56da, 0x255b0ec2, 0x4167253d, 0x43a38fb0 } };

static __always_inline __u32 absorb(__u32 word, __u32 left, __u32 right)
{
	__u64 window = (__u64)left << 32 | right;
	__u32 h = 0;
	int i;

	for (i = 0; i < 32; i++) {
		if (word & (0x80000000 >> i))
			h ^= window >> 32;
		window <<= 1;
	}
	return h;
}

SEC("xdp")
int predict_queue(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;
	struct ports *ports = (void *)(ip + 1);
	__u32 h, both;
	__u64 *seen;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end || *(__u8 *)ip != 0x45)
		return XDP_PASS;
	if ((void *)(ports + 1) > end)
		return XDP_PASS;
	h = absorb(bpf_ntohl(ip->saddr), key.words[0], key.words[1]);
	h ^= absorb(bpf_ntohl(ip->daddr), key.words[1], key.words[2]);
	both = bpf_ntohl((__u32)ports->target << 16 | ports->source);
	h ^= absorb(both, key.words[2], key.words[3]);
	h &= QUEUES - 1;
	seen = bpf_map_lookup_elem(&by_queue, &h);
	if (seen)
		*seen += 1;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
