// SPDX-License-Identifier: Apache-2.0
/* The C twin of dotted_quad.py. */
#include "corpus.bpf.h"

#define CONTROL_PORT 7777
#define LONGEST 16

enum { ACCEPTED, REFUSED };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} blocked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} commands SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *seen = bpf_map_lookup_elem(&commands, &which);

	if (seen)
		*seen += 1;
}

static __always_inline void block(__u32 address)
{
	__u64 one = 1, *seen = bpf_map_lookup_elem(&blocked, &address);

	if (seen) {
		__sync_fetch_and_add(seen, 1);
	} else if (bpf_map_update_elem(&blocked, &address, &one, BPF_NOEXIST)) {
		seen = bpf_map_lookup_elem(&blocked, &address);
		if (seen)
			__sync_fetch_and_add(seen, 1);
	}
}

SEC("xdp")
int control(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct udphdr *udp = data + IP_OFFSET + 20;
	__u8 *character = data + UDP_PAYLOAD;
	__u32 address = 0, part = 0, digits = 0, dots = 0, digit;
	int i;

	if (!is_plain_udp(ctx))
		return XDP_PASS;
	if ((void *)(udp + 1) > end || udp->dest != bpf_htons(CONTROL_PORT))
		return XDP_PASS;
	for (i = 0; i < LONGEST; i++, character++) {
		if ((void *)(character + 1) > end)
			break;
		if (*character == '.') {
			if (digits == 0 || dots == 3) {
				count(REFUSED);
				return XDP_DROP;
			}
			address = address << 8 | part;
			part = 0;
			digits = 0;
			dots += 1;
			continue;
		}
		digit = *character - '0';
		if (digit > 9)
			break;
		part = part * 10 + digit;
		digits += 1;
		if (part > 255 || digits > 3) {
			count(REFUSED);
			return XDP_DROP;
		}
	}
	if (dots != 3 || digits == 0) {
		count(REFUSED);
		return XDP_DROP;
	}
	block(bpf_htonl(address << 8 | part));
	count(ACCEPTED);
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
