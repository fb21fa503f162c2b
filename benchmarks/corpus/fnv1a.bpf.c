// SPDX-License-Identifier: Apache-2.0
/* The C twin of fnv1a.py. */
#include "corpus.bpf.h"

#define LONGEST 32
#define BUCKETS 256

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} buckets SEC(".maps");

SEC("xdp")
int by_payload(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u8 *byte = data + UDP_PAYLOAD;
	__u32 h = 0x811c9dc5;
	__u64 *count;
	int i;

	if (!is_plain_udp(ctx))
		return XDP_PASS;
	for (i = 0; i < LONGEST; i++, byte++) {
		if ((void *)(byte + 1) > end)
			break;
		h = (h ^ *byte) * 0x01000193;
	}
	h = (h ^ h >> 16) & (BUCKETS - 1);
	count = bpf_map_lookup_elem(&buckets, &h);
	if (count)
		__sync_fetch_and_add(count, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
