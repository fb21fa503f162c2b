// SPDX-License-Identifier: Apache-2.0
/* The C twin of checksum_full.py. */
#include "corpus.bpf.h"

#define LONGEST 30

enum { GOOD, BAD };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

static __always_inline void count(__u32 verdict)
{
	__u64 *seen = bpf_map_lookup_elem(&verdicts, &verdict);

	if (seen)
		*seen += 1;
}

static __always_inline __u32 header_sum(struct iphdr *ip, void *end, __u32 halves)
{
	__u16 *half = (__u16 *)ip;
	__u32 sum = 0;
	int i;

	for (i = 0; i < LONGEST; i++, half++) {
		if (i == halves || (void *)(half + 1) > end)
			break;
		sum += *half;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum ^ 0xffff;
}

SEC("xdp")
int verify_header(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end || ip->version != 4)
		return XDP_PASS;
	if (ip->ihl < 5) {
		count(BAD);
		return XDP_DROP;
	}
	if (header_sum(ip, end, ip->ihl * 2) != 0) {
		count(BAD);
		return XDP_DROP;
	}
	count(GOOD);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
