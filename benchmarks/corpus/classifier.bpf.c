// SPDX-License-Identifier: Apache-2.0
/* The C twin of classifier.py. */
#include "corpus.bpf.h"

#include <stdbool.h>

#define MAPPED bpf_htonl(0xffff)
#define DNS 53
#define SYN 0x02
#define ACK 0x10

enum kind {
	OTHER, TRUNCATED, ARP_REQUEST, ARP_REPLY, FRAGMENT, TCP, TCP_SYN, TCP_SYN_ACK, TCP_END,
	UDP, DNS_QUERY, DNS_ANSWER, DHCP, NTP, QUIC, VXLAN, ECHO_REQUEST, ECHO_REPLY,
	UNREACHABLE, TIME_EXCEEDED, NEIGHBOUR, ICMP, GRE,
};

struct summary {
	__u64 at_ns;
	__u32 kind;
	__u32 length;
	struct in6_addr source;
	struct in6_addr target;
	__u16 source_port;
	__u16 target_port;
	__u16 vlan;
	__u8 protocol;
	__u8 hops;
	__u32 detail;
	__u8 flags;
	__u8 version;
	__u16 offset;
};

struct icmp {
	__u8 type;
	__u8 code;
	__be16 check;
	__be32 rest;
};

struct gre {
	__be16 flags;
	__be16 protocol;
};

struct dns_start {
	__be16 id;
	__be16 flags;
};

struct arp_start {
	__be16 hardware;
	__be16 protocol;
	__be16 lengths;
	__be16 operation;
};

struct settings {
	__u32 sample_mask;
	bool off;
} settings;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} summaries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 32);
	__type(key, __u32);
	__type(value, __u64);
} kinds SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

static __always_inline void count(void *map, __u32 which)
{
	__u64 *seen = bpf_map_lookup_elem(map, &which);

	if (seen)
		*seen += 1;
}

static __always_inline __u32 tcp_kind(struct tcphdr *tcp, void *end, struct summary *s)
{
	__u8 flags;

	if ((void *)(tcp + 1) > end)
		return TRUNCATED;
	flags = ((__u8 *)tcp)[13];
	s->source_port = bpf_ntohs(tcp->source);
	s->target_port = bpf_ntohs(tcp->dest);
	s->flags = flags;
	s->detail = bpf_ntohl(tcp->seq);
	if (flags & SYN)
		return flags & ACK ? TCP_SYN_ACK : TCP_SYN;
	return flags & 5 ? TCP_END : TCP;
}

static __always_inline __u32 dns_kind(struct dns_start *dns, void *end, struct summary *s)
{
	if ((void *)(dns + 1) > end)
		return TRUNCATED;
	s->detail = bpf_ntohs(dns->id);
	return bpf_ntohs(dns->flags) & 0x8000 ? DNS_ANSWER : DNS_QUERY;
}

static __always_inline __u32 udp_kind(struct udphdr *udp, void *end, struct summary *s)
{
	__u32 source, target;

	if ((void *)(udp + 1) > end)
		return TRUNCATED;
	source = bpf_ntohs(udp->source);
	target = bpf_ntohs(udp->dest);
	s->source_port = source;
	s->target_port = target;
	s->detail = bpf_ntohs(udp->len);
	if (source == DNS || target == DNS)
		return dns_kind((void *)(udp + 1), end, s);
	switch (target) {
	case 67:
	case 68:
		return DHCP;
	case 123:
		return NTP;
	case 443:
		return QUIC;
	case 4789:
		return VXLAN;
	default:
		return UDP;
	}
}

static __always_inline __u32 icmp_kind(struct icmp *icmp, void *end, struct summary *s)
{
	if ((void *)(icmp + 1) > end)
		return TRUNCATED;
	s->detail = icmp->rest;
	s->flags = icmp->code;
	switch (icmp->type) {
	case 0:
		return ECHO_REPLY;
	case 3:
		return UNREACHABLE;
	case 8:
		return ECHO_REQUEST;
	case 11:
		return TIME_EXCEEDED;
	default:
		return ICMP;
	}
}

static __always_inline __u32 icmp6_kind(struct icmp *icmp, void *end, struct summary *s)
{
	if ((void *)(icmp + 1) > end)
		return TRUNCATED;
	s->detail = icmp->rest;
	s->flags = icmp->code;
	switch (icmp->type) {
	case 1:
		return UNREACHABLE;
	case 3:
		return TIME_EXCEEDED;
	case 128:
		return ECHO_REQUEST;
	case 129:
		return ECHO_REPLY;
	case 133 ... 137:
		return NEIGHBOUR;
	default:
		return ICMP;
	}
}

static __always_inline __u32 gre_kind(struct gre *gre, void *end, struct summary *s)
{
	if ((void *)(gre + 1) > end)
		return TRUNCATED;
	s->detail = bpf_ntohs(gre->protocol);
	return GRE;
}

static __always_inline __u32 transport_kind(void *data, void *end, struct summary *s,
					    __u32 protocol, __u32 offset)
{
	s->protocol = protocol;
	s->offset = offset;
	switch (protocol) {
	case IPPROTO_TCP:
		return tcp_kind(data + offset, end, s);
	case IPPROTO_UDP:
		return udp_kind(data + offset, end, s);
	case IPPROTO_ICMP:
		return icmp_kind(data + offset, end, s);
	case IPPROTO_ICMPV6:
		return icmp6_kind(data + offset, end, s);
	case IPPROTO_GRE:
		return gre_kind(data + offset, end, s);
	default:
		return OTHER;
	}
}

static __always_inline __u32 arp_kind(struct arp_start *arp, void *end, struct summary *s)
{
	if ((void *)(arp + 1) > end)
		return TRUNCATED;
	s->detail = bpf_ntohs(arp->hardware);
	return bpf_ntohs(arp->operation) == 1 ? ARP_REQUEST : ARP_REPLY;
}

static __always_inline __u32 kind_of(void *data, void *end, struct summary *s)
{
	struct ethhdr *eth = data;
	struct vlan *tag = (void *)(eth + 1);
	struct iphdr *ip4;
	struct ipv6hdr *ip6;
	__u32 offset = 14, transport;
	__be16 protocol;

	if ((void *)(eth + 1) > end)
		return TRUNCATED;
	protocol = eth->h_proto;
	if (protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD)) {
		if ((void *)(tag + 1) > end)
			return TRUNCATED;
		s->vlan = bpf_ntohs(tag->tci);
		protocol = tag->protocol;
		offset = 18;
	}
	if (protocol == bpf_htons(ETH_P_IP)) {
		ip4 = data + offset;
		if ((void *)(ip4 + 1) > end)
			return TRUNCATED;
		s->version = 4;
		s->hops = ip4->ttl;
		s->source.in6_u.u6_addr32[2] = MAPPED;
		s->source.in6_u.u6_addr32[3] = ip4->saddr;
		s->target.in6_u.u6_addr32[2] = MAPPED;
		s->target.in6_u.u6_addr32[3] = ip4->daddr;
		transport = ip4->protocol;
		if (bpf_ntohs(ip4->frag_off) & 0x1fff)
			return FRAGMENT;
		offset += ip4->ihl * 4;
	} else if (protocol == bpf_htons(ETH_P_IPV6)) {
		ip6 = data + offset;
		if ((void *)(ip6 + 1) > end)
			return TRUNCATED;
		s->version = 6;
		s->hops = ip6->hop_limit;
		s->source = ip6->saddr;
		s->target = ip6->daddr;
		transport = ip6->nexthdr;
		offset += 40;
	} else if (protocol == bpf_htons(ETH_P_ARP)) {
		return arp_kind(data + offset, end, s);
	} else {
		return OTHER;
	}
	return transport_kind(data, end, s, transport, offset);
}

SEC("xdp")
int classify(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct summary s = {};
	__u32 kind;

	if (settings.off)
		return XDP_PASS;
	s.at_ns = bpf_ktime_get_ns();
	s.length = end - data;
	kind = kind_of(data, end, &s);
	s.kind = kind;
	count(&kinds, kind);
	if ((s.length & settings.sample_mask) == 0 &&
	    bpf_ringbuf_output(&summaries, &s, sizeof(s), 0) != 0)
		count(&lost, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
