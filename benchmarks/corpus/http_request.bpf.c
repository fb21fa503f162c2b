// SPDX-License-Identifier: Apache-2.0
/* The C twin of http_request.py. */
#include "corpus.bpf.h"

enum method { OTHER, GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, METHODS };

#define WORD(a, b, c, d) ((a) | (b) << 8 | (c) << 16 | (__u32)(d) << 24)

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, METHODS);
	__type(key, __u32);
	__type(value, __u64);
} requests SEC(".maps");

static __always_inline __u32 method_of(__u32 first)
{
	switch (first) {
	case WORD('G', 'E', 'T', ' '):
		return GET;
	case WORD('H', 'E', 'A', 'D'):
		return HEAD;
	case WORD('P', 'O', 'S', 'T'):
		return POST;
	case WORD('P', 'U', 'T', ' '):
		return PUT;
	case WORD('D', 'E', 'L', 'E'):
		return DELETE;
	case WORD('O', 'P', 'T', 'I'):
		return OPTIONS;
	case WORD('P', 'A', 'T', 'C'):
		return PATCH;
	default:
		return OTHER;
	}
}

static __always_inline __u32 path_offset(__u32 method)
{
	switch (method) {
	case GET:
	case PUT:
		return 4;
	case HEAD:
	case POST:
		return 5;
	case PATCH:
		return 6;
	case DELETE:
		return 7;
	default:
		return 8;
	}
}

static __always_inline int is_admin(__u8 *path)
{
	return path[0] == '/' && path[1] == 'a' && path[2] == 'd' && path[3] == 'm' &&
	       path[4] == 'i' && path[5] == 'n';
}

SEC("xdp")
int http_methods(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;
	struct tcphdr *tcp = (void *)(ip + 1);
	__u64 *seen;
	__u32 method;
	void *payload;
	__u8 *path;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end || ip->protocol != IPPROTO_TCP)
		return XDP_PASS;
	if (*(__u8 *)ip != 0x45 || (void *)(tcp + 1) > end)
		return XDP_PASS;
	payload = (void *)tcp + tcp->doff * 4;
	if (payload + 4 > end)
		return XDP_PASS;
	method = method_of(*(__u32 *)payload);
	seen = bpf_map_lookup_elem(&requests, &method);
	if (seen)
		*seen += 1;
	if (method == OTHER)
		return XDP_PASS;
	path = payload + path_offset(method);
	if ((void *)(path + 6) <= end && is_admin(path))
		return XDP_DROP;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
