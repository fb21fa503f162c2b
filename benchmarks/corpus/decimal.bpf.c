// SPDX-License-Identifier: Apache-2.0
/* The C twin of decimal.py. */
#include "corpus.bpf.h"

#define MOST_DIGITS 10

enum { SUM, COUNT, LARGEST, MALFORMED };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} gauge SEC(".maps");

static __always_inline void add(__u32 which, __u64 amount)
{
	__u64 *value = bpf_map_lookup_elem(&gauge, &which);

	if (value)
		__sync_fetch_and_add(value, amount);
}

SEC("xdp")
int read_gauge(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u8 *character = data + UDP_PAYLOAD;
	__u32 digits = 0, digit, which = LARGEST;
	__u64 number = 0, *largest;
	int i;

	if (!is_plain_udp(ctx))
		return XDP_PASS;
	for (i = 0; i < MOST_DIGITS; i++, character++) {
		if ((void *)(character + 1) > end)
			break;
		digit = *character - '0';
		if (digit > 9)
			break;
		number = number * 10 + digit;
		digits += 1;
	}
	if (digits == 0) {
		add(MALFORMED, 1);
		return XDP_DROP;
	}
	add(SUM, number);
	add(COUNT, 1);
	largest = bpf_map_lookup_elem(&gauge, &which);
	if (largest && number > *largest)
		*largest = number;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
