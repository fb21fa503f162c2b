// SPDX-License-Identifier: Apache-2.0
/* The C twin of crc32_table.py. */
#include "corpus.bpf.h"

#define LENGTH 28

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

struct table {
	__u32 words[16];
} table = { {
	0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
	0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
	0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
} };

static __always_inline __u32 crc32(struct message *message)
{
	__u32 crc = 0xffffffff;
	int i;

	for (i = 0; i < LENGTH; i++) {
		crc ^= message->body[i];
		crc = crc >> 4 ^ table.words[crc & 15];
		crc = crc >> 4 ^ table.words[crc & 15];
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
int check_crc_fast(struct xdp_md *ctx)
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
