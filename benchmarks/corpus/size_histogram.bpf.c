// SPDX-License-Identifier: Apache-2.0
/* The C twin of size_histogram.py. */
#include "corpus.bpf.h"

#define SLOTS 16
#define WELL_KNOWN 1024

enum { REQUEST, RESPONSE, OTHER, DIRECTIONS };

struct histogram {
	__u64 slots[SLOTS];
	__u64 total;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DIRECTIONS);
	__type(key, __u32);
	__type(value, struct histogram);
} histograms SEC(".maps");

static __always_inline __u32 log2(__u32 v)
{
	__u32 shift, r;

	r = (v > 0xffff) << 4; v >>= r;
	shift = (v > 0xff) << 3; v >>= shift; r |= shift;
	shift = (v > 0xf) << 2; v >>= shift; r |= shift;
	shift = (v > 0x3) << 1; v >>= shift; r |= shift;
	return r | v >> 1;
}

static __always_inline __u32 direction(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;
	struct ports *ports = (void *)(ip + 1);

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return OTHER;
	if ((void *)(ip + 1) > end || *(__u8 *)ip != 0x45)
		return OTHER;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return OTHER;
	if ((void *)(ports + 1) > end)
		return OTHER;
	if (bpf_ntohs(ports->target) < WELL_KNOWN)
		return REQUEST;
	return bpf_ntohs(ports->source) < WELL_KNOWN ? RESPONSE : OTHER;
}

SEC("xdp")
int size_histogram(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 which = direction(data, end);
	struct histogram *histogram = bpf_map_lookup_elem(&histograms, &which);
	__u32 slot, size = end - data;

	if (histogram) {
		slot = log2(size);
		if (slot >= SLOTS)
			slot = SLOTS - 1;
		histogram->slots[slot] += 1;
		histogram->total += size;
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
