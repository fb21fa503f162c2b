// SPDX-License-Identifier: Apache-2.0
/* The C twin of uuid.py. */
#include "corpus.bpf.h"

struct uuid {
	__u8 bytes[16];
};

struct text {
	__u32 source;
	__u8 characters[40];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct uuid);
} known SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} published SEC(".maps");

static __always_inline __u8 digit(__u32 value)
{
	return value < 10 ? value + '0' : value + 'a' - 10;
}

static __always_inline void put_word(__u8 *at, __u32 word)
{
	at[0] = digit(word >> 4 & 15);
	at[1] = digit(word & 15);
	at[2] = digit(word >> 12 & 15);
	at[3] = digit(word >> 8 & 15);
}

static __always_inline void set_word(__u8 *at, __u32 word)
{
	at[0] = word;
	at[1] = word >> 8;
	at[2] = word >> 16;
	at[3] = word >> 24;
}

SEC("xdp")
int name_source(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;
	__u32 a, b, c, d, source;
	struct text *text;
	struct uuid uuid;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	source = ip->saddr;
	if (bpf_map_lookup_elem(&known, &source))
		return XDP_PASS;
	a = bpf_get_prandom_u32();
	b = (bpf_get_prandom_u32() & 0xff0fffff) | 0x00400000; /* version 4 */
	c = (bpf_get_prandom_u32() & 0xffffff3f) | 0x00000080; /* RFC 4122 */
	d = bpf_get_prandom_u32();
	set_word(uuid.bytes, a);
	set_word(uuid.bytes + 4, b);
	set_word(uuid.bytes + 8, c);
	set_word(uuid.bytes + 12, d);
	bpf_map_update_elem(&known, &source, &uuid, BPF_ANY);
	text = bpf_ringbuf_reserve(&published, sizeof(*text), 0);
	if (text) {
		text->source = source;
		put_word(text->characters, a);
		put_word(text->characters + 4, a >> 16);
		text->characters[8] = '-';
		put_word(text->characters + 9, b);
		text->characters[13] = '-';
		put_word(text->characters + 14, b >> 16);
		text->characters[18] = '-';
		put_word(text->characters + 19, c);
		text->characters[23] = '-';
		put_word(text->characters + 24, c >> 16);
		put_word(text->characters + 28, d);
		put_word(text->characters + 32, d >> 16);
		text->characters[36] = 0;
		text->characters[37] = 0;
		text->characters[38] = 0;
		text->characters[39] = 0;
		bpf_ringbuf_submit(text, 0);
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
