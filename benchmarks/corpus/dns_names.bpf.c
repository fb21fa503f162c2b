// SPDX-License-Identifier: Apache-2.0
/* The C twin of dns_names.py. */
#include "corpus.bpf.h"

#define DNS_PORT 53
#define RESPONSE 0x8000
#define LONGEST_NAME 64

enum { PASSED, BLOCKED, MALFORMED, OUTCOMES };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} blocked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} queries SEC(".maps");

struct dns {
	__be16 id, flags, questions, answers, authorities, additional;
};

static __always_inline void count(__u32 outcome)
{
	__u64 *seen = bpf_map_lookup_elem(&queries, &outcome);

	if (seen)
		*seen += 1;
}

static __always_inline __u32 lower(__u32 letter)
{
	return letter >= 'A' && letter <= 'Z' ? letter | 0x20 : letter;
}

static __always_inline __u32 name_hash(__u8 *byte, void *end)
{
	__u32 h = 5381;
	int i;

	for (i = 0; i < LONGEST_NAME; i++, byte++) {
		if ((void *)(byte + 1) > end)
			return 0;
		if (*byte == 0)
			return h;
		h = h * 33 + lower(*byte);
	}
	return 0;
}

SEC("xdp")
int filter_dns(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct udphdr *udp = data + IP_OFFSET + 20;
	struct dns *dns = data + UDP_PAYLOAD;
	__u64 *hits;
	__u32 h;

	if (!is_plain_udp(ctx))
		return XDP_PASS;
	if ((void *)(udp + 1) > end || udp->dest != bpf_htons(DNS_PORT))
		return XDP_PASS;
	if ((void *)(dns + 1) > end)
		return XDP_PASS;
	if ((bpf_ntohs(dns->flags) & RESPONSE) || bpf_ntohs(dns->questions) != 1)
		return XDP_PASS;
	h = name_hash((__u8 *)(dns + 1), end);
	if (h == 0) {
		count(MALFORMED);
		return XDP_DROP;
	}
	hits = bpf_map_lookup_elem(&blocked, &h);
	if (hits) {
		__sync_fetch_and_add(hits, 1);
		count(BLOCKED);
		return XDP_DROP;
	}
	count(PASSED);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
