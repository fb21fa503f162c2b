// SPDX-License-Identifier: Apache-2.0
/* The C twin of ipv6_extensions.py. */
#include "corpus.bpf.h"

#define MOST_HEADERS 6

enum { TRUNCATED, LATER_FRAGMENT, TOO_MANY, PROBLEMS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} transports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PROBLEMS);
	__type(key, __u32);
	__type(value, __u64);
} problems SEC(".maps");

struct extension {
	__u8 next;
	__u8 length;
	__be16 offset;
};

static __always_inline void count(void *map, __u32 which)
{
	__u64 *seen = bpf_map_lookup_elem(map, &which);

	if (seen)
		*seen += 1;
}

SEC("xdp")
int ipv6_extensions(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip = data + IP_OFFSET;
	struct extension *extension;
	__u32 protocol, offset = IP_OFFSET + 40;
	int i;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IPV6))
		return XDP_PASS;
	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	protocol = ip->nexthdr;
	for (i = 0; i < MOST_HEADERS; i++) {
		if (protocol != IPPROTO_HOPOPTS && protocol != IPPROTO_ROUTING &&
		    protocol != IPPROTO_FRAGMENT && protocol != IPPROTO_AH &&
		    protocol != IPPROTO_DSTOPTS) {
			count(&transports, protocol);
			return XDP_PASS;
		}
		extension = data + offset;
		if ((void *)(extension + 1) > end) {
			count(&problems, TRUNCATED);
			return XDP_DROP;
		}
		if (protocol == IPPROTO_FRAGMENT) {
			if (extension->offset & bpf_htons(0xfff8)) {
				count(&problems, LATER_FRAGMENT);
				return XDP_PASS;
			}
			offset += 8;
		} else if (protocol == IPPROTO_AH) {
			offset += (extension->length + 2) * 4;
		} else {
			offset += (extension->length + 1) * 8;
		}
		protocol = extension->next;
	}
	count(&problems, TOO_MANY);
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
