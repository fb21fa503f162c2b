// SPDX-License-Identifier: Apache-2.0
/* The C twin of crc32_bitwise.py. */
#include "corpus.bpf.h"

#define POLYNOMIAL 0xedb88320
#define LENGTH 20

enum { GOOD, BAD };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} messages SEC(".maps");

struct message {
	__u8 body[LENGTH];
	__u32 crc;
};

static __always_inline __u32 crc32(struct message *message)
{
	__u32 crc = 0xffffffff;
	int i, bit;

	for (i = 0; i < LENGTH; i++) {
		crc ^= message->body[i];
		for (bit = 0; bit < 8; bit++) {
			if (crc & 1)
				crc = crc >> 1 ^ POLYNOMIAL;
			else
				crc >>= 1;
		}
	}
	return crc ^ 0xffffffff;
}

static __always_inline void count(__u32 which)
{
	__u64 *messages_seen = bpf_map_lookup_elem(&messages, &which);

	if (messages_seen)
		*messages_seen += 1;
}

SEC("xdp")
int check_crc(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct message *message = data + UDP_PAYLOAD;

	if (!is_plain_udp(ctx))
		return XDP_PASS;
	if ((void *)(message + 1) > end)
		return XDP_PASS;
	if (crc32(message) == message->crc) {
		count(GOOD);
		return XDP_PASS;
	}
	count(BAD);
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
