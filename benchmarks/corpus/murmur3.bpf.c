// SPDX-License-Identifier: Apache-2.0
/* The C twin of murmur3.py. */
#include "corpus.bpf.h"

#define WORDS 12
#define SAMPLE_MASK 7

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} sampled SEC(".maps");

struct payload {
	__u32 words[WORDS];
};

static __always_inline __u32 murmur3(struct payload *payload, __u32 seed)
{
	__u32 h = seed, k;
	int i;

	for (i = 0; i < WORDS; i++) {
		k = payload->words[i] * 0xcc9e2d51;
		k = rotl32(k, 15) * 0x1b873593;
		h = rotl32(h ^ k, 13) * 5 + 0xe6546b64;
	}
	h ^= WORDS * 4;
	h = (h ^ h >> 16) * 0x85ebca6b;
	h = (h ^ h >> 13) * 0xc2b2ae35;
	return h ^ h >> 16;
}

SEC("xdp")
int sample(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct payload *payload = data + UDP_PAYLOAD;
	__u64 one = 1, *count;
	__u32 h;

	if (!is_plain_udp(ctx))
		return XDP_PASS;
	if ((void *)(payload + 1) > end)
		return XDP_PASS;
	h = murmur3(payload, 0x9747b28c);
	if ((h & SAMPLE_MASK) == 0) {
		count = bpf_map_lookup_elem(&sampled, &h);
		if (count) {
			__sync_fetch_and_add(count, 1);
		} else if (bpf_map_update_elem(&sampled, &h, &one, BPF_NOEXIST)) {
			count = bpf_map_lookup_elem(&sampled, &h);
			if (count)
				__sync_fetch_and_add(count, 1);
		}
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
