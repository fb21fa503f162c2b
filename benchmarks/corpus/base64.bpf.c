// SPDX-License-Identifier: Apache-2.0
/* The C twin of base64.py. */
#include "corpus.bpf.h"

#define GROUPS 8

enum { PUBLISHED, LOST };

struct payload {
	__u8 bytes[GROUPS * 3];
};

struct text {
	__u8 characters[GROUPS * 4];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} texts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *seen = bpf_map_lookup_elem(&counters, &which);

	if (seen)
		*seen += 1;
}

static __always_inline __u8 character(__u32 six)
{
	if (six < 26)
		return six + 'A';
	if (six < 52)
		return six + 'a' - 26;
	if (six < 62)
		return six + '0' - 52;
	return six == 62 ? '+' : '/';
}

SEC("xdp")
int publish(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct payload *payload = data + UDP_PAYLOAD;
	struct text *text;
	__u32 group;
	int i;

	if (!is_plain_udp(ctx))
		return XDP_PASS;
	if ((void *)(payload + 1) > end ||
	    (payload->bytes[0] & payload->bytes[1] & payload->bytes[2]) <= 0x7f)
		return XDP_PASS;
	text = bpf_ringbuf_reserve(&texts, sizeof(*text), 0);
	if (!text) {
		count(LOST);
		return XDP_PASS;
	}
	for (i = 0; i < GROUPS; i++) {
		group = (__u32)payload->bytes[i * 3] << 16 | payload->bytes[i * 3 + 1] << 8 |
			payload->bytes[i * 3 + 2];
		text->characters[i * 4] = character(group >> 18);
		text->characters[i * 4 + 1] = character(group >> 12 & 63);
		text->characters[i * 4 + 2] = character(group >> 6 & 63);
		text->characters[i * 4 + 3] = character(group & 63);
	}
	bpf_ringbuf_submit(text, 0);
	count(PUBLISHED);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
