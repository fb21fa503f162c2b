// SPDX-License-Identifier: Apache-2.0
/* The C twin of conntrack.py. */
#include "corpus.bpf.h"

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10
#define SECOND 1000000000ULL

enum state { NONE, SYN_SENT, SYN_RECEIVED, ESTABLISHED, FIN_SENT, FIN_BOTH, CLOSED, DATAGRAM };

enum verdict { PASSED, NEW, MALFORMED, INVALID, UNSOLICITED, EXPIRED, VERDICTS };

struct flow {
	__be32 inside;
	__be32 outside;
	__be16 inside_port;
	__be16 outside_port;
	__u8 protocol;
	__u8 padding;
	__u16 more_padding;
};

struct connection {
	__u64 expires_ns;
	__u64 packets_out;
	__u64 packets_in;
	__u64 bytes_out;
	__u64 bytes_in;
	__u32 state;
	__u32 flags_seen;
};

struct settings {
	__be32 network;
	__be32 mask;
	__u32 seconds_established;
	__u32 seconds_other;
} settings = {
	.network = 0x0000000a,
	.mask = 0x000000ff,
	.seconds_established = 3600,
	.seconds_other = 30,
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow);
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

static __always_inline __u32 opening(__u32 protocol, __u32 flags)
{
	if (protocol != IPPROTO_TCP)
		return DATAGRAM;
	if ((flags & (SYN | ACK | RST | FIN)) == SYN)
		return SYN_SENT;
	return NONE;
}

static __always_inline __u32 step(__u32 state, __u32 flags, int outgoing)
{
	if (flags & RST)
		return CLOSED;
	switch (state) {
	case SYN_SENT:
		if (outgoing)
			return flags & SYN ? SYN_SENT : NONE;
		if ((flags & (SYN | ACK)) == (SYN | ACK))
			return SYN_RECEIVED;
		return NONE;
	case SYN_RECEIVED:
		if (outgoing && (flags & (SYN | ACK)) == ACK)
			return ESTABLISHED;
		return flags & SYN ? SYN_RECEIVED : NONE;
	case ESTABLISHED:
		if (flags & SYN)
			return NONE;
		return flags & FIN ? FIN_SENT : ESTABLISHED;
	case FIN_SENT:
		return flags & FIN ? FIN_BOTH : FIN_SENT;
	case FIN_BOTH:
	case CLOSED:
		return flags & ACK ? CLOSED : NONE;
	default:
		return NONE;
	}
}

static __always_inline __u64 lifetime(__u32 state)
{
	if (state == ESTABLISHED)
		return settings.seconds_established * SECOND;
	return settings.seconds_other * SECOND;
}

static __always_inline __u32 follow(struct flow *flow, __u32 flags, __u32 size, int outgoing)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, flow);
	__u64 now = bpf_ktime_get_coarse_ns();
	struct connection first = {};
	__u32 state;

	if (!connection) {
		if (!outgoing)
			return UNSOLICITED;
		state = opening(flow->protocol, flags);
		if (state == NONE)
			return INVALID;
		first.expires_ns = now + lifetime(state);
		first.packets_out = 1;
		first.bytes_out = size;
		first.state = state;
		first.flags_seen = flags;
		bpf_map_update_elem(&connections, flow, &first, BPF_ANY);
		return NEW;
	}
	if (connection->expires_ns < now) {
		bpf_map_delete_elem(&connections, flow);
		return EXPIRED;
	}
	if (flow->protocol == IPPROTO_TCP) {
		state = step(connection->state, flags, outgoing);
		if (state == NONE)
			return INVALID;
		connection->state = state;
		connection->flags_seen |= flags;
	}
	connection->expires_ns = now + lifetime(connection->state);
	if (outgoing) {
		connection->packets_out += 1;
		connection->bytes_out += size;
	} else {
		connection->packets_in += 1;
		connection->bytes_in += size;
	}
	return PASSED;
}

static __always_inline __u32 inspect(struct iphdr *ip, void *end, __u32 size)
{
	int outgoing = (ip->saddr & settings.mask) == settings.network;
	struct ports *ports = (void *)(ip + 1);
	struct tcphdr *tcp = (void *)ports;
	struct flow flow = { .protocol = ip->protocol };
	__u32 flags = 0;

	if (ip->protocol == IPPROTO_TCP || ip->protocol == IPPROTO_UDP) {
		if ((void *)(ports + 1) > end)
			return MALFORMED;
		flow.inside_port = outgoing ? ports->source : ports->target;
		flow.outside_port = outgoing ? ports->target : ports->source;
		if (ip->protocol == IPPROTO_TCP) {
			if ((void *)(tcp + 1) > end)
				return MALFORMED;
			flags = ((__u8 *)tcp)[13];
		}
	} else if (ip->protocol != IPPROTO_ICMP) {
		return INVALID;
	}
	flow.inside = outgoing ? ip->saddr : ip->daddr;
	flow.outside = outgoing ? ip->daddr : ip->saddr;
	return follow(&flow, flags, size, outgoing);
}

SEC("xdp")
int conntrack(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;
	__u32 verdict;
	__u64 *seen;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end || *(__u8 *)ip != 0x45)
		return XDP_DROP;
	verdict = inspect(ip, end, end - data);
	seen = bpf_map_lookup_elem(&verdicts, &verdict);
	if (seen)
		*seen += 1;
	return verdict == PASSED || verdict == NEW ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
