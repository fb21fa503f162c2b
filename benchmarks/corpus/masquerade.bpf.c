// SPDX-License-Identifier: Apache-2.0
/* The C twin of masquerade.py. */
#include "corpus.bpf.h"

#define TRIES 8

enum outcome { PASSED, OUT, IN, EXHAUSTED, UNKNOWN, MALFORMED, OUTCOMES };

struct tuple {
	__be32 source;
	__be32 target;
	__be16 source_port;
	__be16 target_port;
	__u8 protocol;
	__u8 padding;
	__u16 more_padding;
};

struct mapping {
	__be32 address;
	__be16 port;
	__u16 flags;
	__u64 used_ns;
};

struct settings {
	__be32 network;
	__be32 mask;
	__be32 outside;
	__u16 first_port;
	__u16 ports;
} settings = {
	.network = 0x0000000a,
	.mask = 0x000000ff,
	.outside = 0x010200c0,
	.first_port = 20000,
	.ports = 30000,
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct tuple);
	__type(value, struct mapping);
} outgoing SEC(".maps"), incoming SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

static __always_inline __u16 mended(__u16 check, __u32 before, __u32 after)
{
	__u32 sum = (__u16)~check;

	sum += (__u16)~before + (__u16)(~before >> 16);
	sum += (after & 0xffff) + (after >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __u32 mix(struct tuple *t)
{
	__u32 h = (t->source ^ t->target) * 0x9e3779b1;

	h ^= ((__u32)t->source_port << 16 | t->target_port) * 0x85ebca77;
	return (h ^ h >> 15) * 0xc2b2ae3d >> 8;
}

static __always_inline __be16 allocate(struct tuple *t, __u64 now)
{
	struct mapping inside = { .address = t->source, .port = t->source_port, .used_ns = now };
	struct mapping outside = { .address = settings.outside, .used_ns = now };
	struct tuple back = {
		.source = t->target,
		.target = settings.outside,
		.source_port = t->target_port,
		.protocol = t->protocol,
	};
	__u32 start, i;

	if (settings.ports == 0)
		return 0;
	start = mix(t);
	for (i = 0; i < TRIES; i++) {
		back.target_port = bpf_htons(settings.first_port +
					     (start + i * 7) % settings.ports);
		if (bpf_map_update_elem(&incoming, &back, &inside, BPF_NOEXIST) == 0) {
			outside.port = back.target_port;
			bpf_map_update_elem(&outgoing, t, &outside, BPF_ANY);
			return back.target_port;
		}
	}
	return 0;
}

static __always_inline int mend_transport(struct iphdr *ip, void *end, __u32 before,
					  __u32 after, __be16 port_before, __be16 port_after)
{
	struct tcphdr *tcp = (void *)(ip + 1);
	struct udphdr *udp = (void *)(ip + 1);

	if (ip->protocol == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end)
			return 0;
		tcp->check = mended(mended(tcp->check, before, after), port_before, port_after);
		return 1;
	}
	if ((void *)(udp + 1) > end)
		return 0;
	if (udp->check)
		udp->check = mended(mended(udp->check, before, after), port_before, port_after);
	return 1;
}

static __always_inline __u32 send_out(struct iphdr *ip, void *end, struct ports *ports,
				      struct tuple *t)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	struct mapping *known = bpf_map_lookup_elem(&outgoing, t);
	__be16 port;

	if (known) {
		known->used_ns = now;
		port = known->port;
	} else {
		port = allocate(t, now);
	}
	if (port == 0)
		return EXHAUSTED;
	if (!mend_transport(ip, end, ip->saddr, settings.outside, ports->source, port))
		return MALFORMED;
	ip->check = mended(ip->check, ip->saddr, settings.outside);
	ip->saddr = settings.outside;
	ports->source = port;
	return OUT;
}

static __always_inline __u32 take_in(struct iphdr *ip, void *end, struct ports *ports,
				     struct tuple *t)
{
	struct mapping *known = bpf_map_lookup_elem(&incoming, t);
	__be32 address;
	__be16 port;

	if (!known)
		return UNKNOWN;
	known->used_ns = bpf_ktime_get_coarse_ns();
	address = known->address;
	port = known->port;
	if (!mend_transport(ip, end, ip->daddr, address, ports->target, port))
		return MALFORMED;
	ip->check = mended(ip->check, ip->daddr, address);
	ip->daddr = address;
	ports->target = port;
	return IN;
}

static __always_inline __u32 translate(struct iphdr *ip, void *end)
{
	struct ports *ports = (void *)(ip + 1);
	struct tuple t = {};

	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return PASSED;
	if ((void *)(ports + 1) > end)
		return MALFORMED;
	t.source = ip->saddr;
	t.target = ip->daddr;
	t.source_port = ports->source;
	t.target_port = ports->target;
	t.protocol = ip->protocol;
	if (ip->daddr == settings.outside)
		return take_in(ip, end, ports, &t);
	if ((ip->saddr & settings.mask) == settings.network)
		return send_out(ip, end, ports, &t);
	return PASSED;
}

SEC("xdp")
int masquerade(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;
	__u32 outcome;
	__u64 *seen;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end || *(__u8 *)ip != 0x45)
		return XDP_PASS;
	outcome = translate(ip, end);
	seen = bpf_map_lookup_elem(&outcomes, &outcome);
	if (seen)
		*seen += 1;
	return outcome == EXHAUSTED || outcome == MALFORMED ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
