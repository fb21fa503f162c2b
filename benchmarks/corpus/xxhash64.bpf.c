// SPDX-License-Identifier: Apache-2.0
/* The C twin of xxhash64.py. */
#include "corpus.bpf.h"

#define PRIME1 0x9e3779b185ebca87ULL
#define PRIME2 0xc2b2ae3d27d4eb4fULL
#define PRIME3 0x165667b19e3779f9ULL
#define PRIME4 0x85ebca77c2b2ae63ULL
#define PRIME5 0x27d4eb2f165667c5ULL
#define LENGTH 77

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, __u32);
} seen SEC(".maps");

struct stripe {
	__u64 words[4];
};

struct payload {
	struct stripe first, second;
	__u64 word;
	__u32 half;
	__u8 byte;
};

static __always_inline __u64 lane(__u64 acc, __u64 word)
{
	return rotl64(acc + word * PRIME2, 31) * PRIME1;
}

static __always_inline __u64 merge(__u64 h, __u64 acc)
{
	return (h ^ lane(0, acc)) * PRIME1 + PRIME4;
}

static __always_inline __u64 xxhash64(struct payload *payload, __u64 seed)
{
	__u64 a = lane(seed + PRIME1 + PRIME2, payload->first.words[0]);
	__u64 b = lane(seed + PRIME2, payload->first.words[1]);
	__u64 c = lane(seed, payload->first.words[2]);
	__u64 d = lane(seed - PRIME1, payload->first.words[3]);
	__u64 h;

	a = lane(a, payload->second.words[0]);
	b = lane(b, payload->second.words[1]);
	c = lane(c, payload->second.words[2]);
	d = lane(d, payload->second.words[3]);
	h = rotl64(a, 1) + rotl64(b, 7) + rotl64(c, 12) + rotl64(d, 18);
	h = merge(h, a);
	h = merge(h, b);
	h = merge(h, c);
	h = merge(h, d);
	h += LENGTH;
	h = rotl64(h ^ lane(0, payload->word), 27) * PRIME1 + PRIME4;
	h = rotl64(h ^ payload->half * PRIME1, 23) * PRIME2 + PRIME3;
	h = rotl64(h ^ payload->byte * PRIME5, 11) * PRIME1;
	h = (h ^ h >> 33) * PRIME2;
	h = (h ^ h >> 29) * PRIME3;
	return h ^ h >> 32;
}

SEC("xdp")
int deduplicate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct payload *payload = data + UDP_PAYLOAD;
	__u32 one = 1;
	__u64 h;

	if (!is_plain_udp(ctx))
		return XDP_PASS;
	if ((void *)(payload + 1) > end)
		return XDP_PASS;
	h = xxhash64(payload, 0);
	if (bpf_map_update_elem(&seen, &h, &one, BPF_NOEXIST))
		return XDP_DROP;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
