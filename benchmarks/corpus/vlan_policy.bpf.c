// SPDX-License-Identifier: Apache-2.0
/* The C twin of vlan_policy.py. */
#include "corpus.bpf.h"

#define VLANS 4096
#define VID 0x0fff
#define PRIORITY_SHIFT 13

struct policy {
	__u8 admit;
	__u8 top_priority;
	__u64 quota;
};

struct usage {
	__u64 packets;
	__u64 bytes;
	__u64 dropped;
};

struct path {
	__u16 outer;
	__u16 inner;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VLANS);
	__type(key, __u32);
	__type(value, struct policy);
} policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VLANS);
	__type(key, __u32);
	__type(value, struct usage);
} usage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct path);
	__type(value, __u64);
} paths SEC(".maps");

static __always_inline int is_tag(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

static __always_inline int admits(struct policy *policy, __u32 priority, __u64 used)
{
	if (!policy->admit || priority > policy->top_priority)
		return 0;
	return policy->quota == 0 || used < policy->quota;
}

static __always_inline void count(struct path *path)
{
	__u64 one = 1, *seen = bpf_map_lookup_elem(&paths, path);

	if (seen) {
		__sync_fetch_and_add(seen, 1);
	} else if (bpf_map_update_elem(&paths, path, &one, BPF_NOEXIST)) {
		seen = bpf_map_lookup_elem(&paths, path);
		if (seen)
			__sync_fetch_and_add(seen, 1);
	}
}

SEC("xdp")
int vlan_policy(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct vlan *outer = (void *)(eth + 1);
	struct vlan *inner = outer + 1;
	struct policy *policy;
	struct usage *used;
	struct path path;
	__u32 vid, priority, tci;

	if ((void *)(eth + 1) > end || !is_tag(eth->h_proto))
		return XDP_PASS;
	if ((void *)(outer + 1) > end)
		return XDP_DROP;
	tci = bpf_ntohs(outer->tci);
	vid = tci & VID;
	priority = tci >> PRIORITY_SHIFT;
	if (is_tag(outer->protocol)) {
		if ((void *)(inner + 1) > end)
			return XDP_DROP;
		path.outer = vid;
		path.inner = bpf_ntohs(inner->tci) & VID;
		count(&path);
		vid = path.inner;
	}
	policy = bpf_map_lookup_elem(&policies, &vid);
	if (!policy)
		return XDP_DROP;
	used = bpf_map_lookup_elem(&usage, &vid);
	if (!used)
		return XDP_DROP;
	if (!admits(policy, priority, used->bytes)) {
		used->dropped += 1;
		return XDP_DROP;
	}
	used->packets += 1;
	used->bytes += end - data;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
