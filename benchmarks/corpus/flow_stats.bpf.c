// SPDX-License-Identifier: Apache-2.0
/* The C twin of flow_stats.py. */
#include "corpus.bpf.h"

#define FIN 0x01
#define RST 0x04
#define MAPPED bpf_htonl(0xffff)

enum { OTHER, COUNTED, EXPORTED, LOST, COUNTERS };

struct flow {
	struct in6_addr source;
	struct in6_addr target;
	__be16 source_port;
	__be16 target_port;
	__u8 protocol;
	__u8 padding;
	__u16 more_padding;
};

struct stats {
	__u64 first_ns;
	__u64 last_ns;
	__u64 packets;
	__u64 bytes;
	__u32 shortest;
	__u32 longest;
	__u64 gap_ewma_ns;
	__u32 flags;
	__u32 hops;
};

struct record {
	struct flow flow;
	struct stats stats;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow);
	__type(value, struct stats);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *seen = bpf_map_lookup_elem(&counters, &which);

	if (seen)
		*seen += 1;
}

static __always_inline __u32 transport(struct flow *flow, void *header, void *end)
{
	struct ports *ports = header;
	struct tcphdr *tcp = header;

	if (flow->protocol != IPPROTO_TCP && flow->protocol != IPPROTO_UDP)
		return 0;
	if ((void *)(ports + 1) > end)
		return 0;
	flow->source_port = ports->source;
	flow->target_port = ports->target;
	if (flow->protocol == IPPROTO_UDP || (void *)(tcp + 1) > end)
		return 0;
	return ((__u8 *)tcp)[13];
}

static __always_inline void update(struct stats *stats, __u64 now, __u32 size, __u32 flags)
{
	__u64 gap = now - stats->last_ns;

	stats->gap_ewma_ns = stats->gap_ewma_ns - (stats->gap_ewma_ns >> 3) + (gap >> 3);
	stats->last_ns = now;
	stats->packets += 1;
	stats->bytes += size;
	stats->flags |= flags;
	if (size < stats->shortest)
		stats->shortest = size;
	if (size > stats->longest)
		stats->longest = size;
}

static __always_inline void export(struct flow *flow, struct stats *stats)
{
	struct record *record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);

	if (!record) {
		count(LOST);
		return;
	}
	record->flow = *flow;
	record->stats = *stats;
	bpf_ringbuf_submit(record, 0);
	count(EXPORTED);
}

static __always_inline void account(struct flow *flow, __u32 size, __u32 flags, __u32 hops)
{
	struct stats *stats = bpf_map_lookup_elem(&flows, flow);
	__u64 now = bpf_ktime_get_ns();
	struct stats first = {};

	if (!stats) {
		first.first_ns = first.last_ns = now;
		first.packets = 1;
		first.bytes = first.shortest = first.longest = size;
		first.flags = flags;
		first.hops = hops;
		bpf_map_update_elem(&flows, flow, &first, BPF_ANY);
		count(COUNTED);
		return;
	}
	update(stats, now, size, flags);
	count(COUNTED);
	if (flags & (FIN | RST)) {
		export(flow, stats);
		bpf_map_delete_elem(&flows, flow);
	}
}

SEC("xdp")
int flow_stats(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip4 = data + IP_OFFSET;
	struct ipv6hdr *ip6 = data + IP_OFFSET;
	struct flow flow = {};
	__u32 hops, flags;
	void *header;

	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		if ((void *)(ip4 + 1) > end || ip4->ihl < 5)
			return XDP_PASS;
		flow.source.in6_u.u6_addr32[2] = MAPPED;
		flow.source.in6_u.u6_addr32[3] = ip4->saddr;
		flow.target.in6_u.u6_addr32[2] = MAPPED;
		flow.target.in6_u.u6_addr32[3] = ip4->daddr;
		flow.protocol = ip4->protocol;
		hops = ip4->ttl;
		header = (void *)ip4 + ip4->ihl * 4;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		if ((void *)(ip6 + 1) > end)
			return XDP_PASS;
		flow.source = ip6->saddr;
		flow.target = ip6->daddr;
		flow.protocol = ip6->nexthdr;
		hops = ip6->hop_limit;
		header = ip6 + 1;
	} else {
		count(OTHER);
		return XDP_PASS;
	}
	flags = transport(&flow, header, end);
	account(&flow, end - data, flags, hops);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
