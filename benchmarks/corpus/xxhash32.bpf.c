// SPDX-License-Identifier: Apache-2.0
/* The C twin of xxhash32.py. */
#include "corpus.bpf.h"

#define PRIME1 0x9e3779b1U
#define PRIME2 0x85ebca77U
#define PRIME3 0xc2b2ae3dU
#define STRIPES 3
#define REPEATS 100

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

struct stripe {
	__u32 words[4];
};

struct payload {
	struct stripe stripes[STRIPES];
};

static __always_inline __u32 lane(__u32 acc, __u32 word)
{
	return rotl32(acc + word * PRIME2, 13) * PRIME1;
}

static __always_inline __u32 xxhash32(struct payload *payload, __u32 seed)
{
	__u32 a = seed + PRIME1 + PRIME2;
	__u32 b = seed + PRIME2;
	__u32 c = seed;
	__u32 d = seed - PRIME1;
	__u32 h;
	int i;

	for (i = 0; i < STRIPES; i++) {
		a = lane(a, payload->stripes[i].words[0]);
		b = lane(b, payload->stripes[i].words[1]);
		c = lane(c, payload->stripes[i].words[2]);
		d = lane(d, payload->stripes[i].words[3]);
	}
	h = rotl32(a, 1) + rotl32(b, 7) + rotl32(c, 12) + rotl32(d, 18);
	h += STRIPES * 16;
	h = (h ^ h >> 15) * PRIME2;
	h = (h ^ h >> 13) * PRIME3;
	return h ^ h >> 16;
}

SEC("xdp")
int repeats(struct xdp_md *ctx)
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
	h = xxhash32(payload, 0);
	count = bpf_map_lookup_elem(&seen, &h);
	if (!count) {
		bpf_map_update_elem(&seen, &h, &one, BPF_ANY);
		return XDP_PASS;
	}
	__sync_fetch_and_add(count, 1);
	return *count > REPEATS ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
