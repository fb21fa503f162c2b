// SPDX-License-Identifier: Apache-2.0
/* The C twin of cgroup_quota.py. */
#include "corpus.bpf.h"

#define ALLOW 1
#define DENY 0
#define WINDOW 1000000000ULL
#define LOCAL4 127

struct quota {
	__u64 bytes_in;
	__u64 bytes_out;
};

struct usage {
	__u64 window_ns;
	__u64 bytes_in;
	__u64 bytes_out;
	__u64 packets_in;
	__u64 packets_out;
	__u64 dropped;
	__u64 protocols;
};

struct account {
	__u64 id;
} group;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct quota);
} quotas SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct usage);
} usages SEC(".maps");

static __always_inline __u32 protocol_of(struct __sk_buff *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct iphdr *ip4 = data;
	struct ipv6hdr *ip6 = data;

	if (ctx->protocol == bpf_htons(ETH_P_IP)) {
		if ((void *)(ip4 + 1) > end || (ip4->daddr & 0xff) == LOCAL4)
			return 0;
		return ip4->protocol;
	}
	if (ctx->protocol == bpf_htons(ETH_P_IPV6)) {
		if ((void *)(ip6 + 1) > end)
			return 0;
		return ip6->nexthdr;
	}
	return 0;
}

static __always_inline struct usage *usage_of(__u64 group_id, __u64 now)
{
	struct usage *usage = bpf_map_lookup_elem(&usages, &group_id);
	struct usage first = {};

	if (!usage) {
		first.window_ns = now;
		bpf_map_update_elem(&usages, &group_id, &first, BPF_ANY);
		return bpf_map_lookup_elem(&usages, &group_id);
	}
	if (now - usage->window_ns > WINDOW) {
		usage->window_ns = now;
		usage->bytes_in = 0;
		usage->bytes_out = 0;
	}
	return usage;
}

SEC("cgroup_skb/ingress")
int receive(struct __sk_buff *ctx)
{
	__u32 protocol = protocol_of(ctx);
	__u64 group_id = group.id;
	struct usage *usage;
	struct quota *quota;

	if (protocol == 0)
		return ALLOW;
	usage = usage_of(group_id, bpf_ktime_get_coarse_ns());
	if (!usage)
		return ALLOW;
	usage->protocols |= 1ULL << (protocol & 63);
	__sync_fetch_and_add(&usage->packets_in, 1);
	__sync_fetch_and_add(&usage->bytes_in, ctx->len);
	quota = bpf_map_lookup_elem(&quotas, &group_id);
	if (!quota || quota->bytes_in == 0)
		return ALLOW;
	if (usage->bytes_in > quota->bytes_in) {
		__sync_fetch_and_add(&usage->dropped, 1);
		return DENY;
	}
	return ALLOW;
}

SEC("cgroup_skb/egress")
int send(struct __sk_buff *ctx)
{
	__u32 protocol = protocol_of(ctx);
	__u64 group_id = group.id;
	struct usage *usage;
	struct quota *quota;

	if (protocol == 0)
		return ALLOW;
	usage = usage_of(group_id, bpf_ktime_get_coarse_ns());
	if (!usage)
		return ALLOW;
	usage->protocols |= 1ULL << (protocol & 63);
	__sync_fetch_and_add(&usage->packets_out, 1);
	__sync_fetch_and_add(&usage->bytes_out, ctx->len);
	quota = bpf_map_lookup_elem(&quotas, &group_id);
	if (!quota || quota->bytes_out == 0)
		return ALLOW;
	if (usage->bytes_out > quota->bytes_out) {
		__sync_fetch_and_add(&usage->dropped, 1);
		return DENY;
	}
	return ALLOW;
}

char _license[] SEC("license") = "GPL";
