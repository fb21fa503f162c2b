// SPDX-License-Identifier: Apache-2.0
/* The C twin of responder.py. */
#include "corpus.bpf.h"

#define ECHO_REPLY 0
#define ECHO_REQUEST 8
#define ECHO6_REQUEST 128
#define ECHO6_REPLY 129
#define SOLICITATION 135
#define ADVERTISEMENT 136
#define ARP_REQUEST bpf_htons(1)
#define ARP_REPLY bpf_htons(2)
#define SOLICITED_OVERRIDE 0x60

enum answer { NONE, ARP, ECHO, ECHO6, NEIGHBOUR, MALFORMED, ANSWERS };

struct arp {
	__be16 hardware;
	__be16 protocol;
	__be16 lengths;
	__be16 operation;
	__u16 sender_mac[3];
	__u16 sender_ip[2];
	__u16 target_mac[3];
	__u16 target_ip[2];
};

struct icmp {
	__u8 type;
	__u8 code;
	__u16 check;
};

struct neighbour {
	__u8 type;
	__u8 code;
	__u16 check;
	__u8 flags;
	__u8 reserved[3];
	__u32 target[4];
	__u8 option;
	__u8 option_length;
	__u16 mac[3];
};

struct frame {
	__u16 target[3];
	__u16 source[3];
};

struct identity {
	__u16 mac[3];
	__u16 ip4[2];
	__u32 ip6[4];
} identity;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ANSWERS);
	__type(key, __u32);
	__type(value, __u64);
} answers SEC(".maps");

static __always_inline __u16 mended(__u16 check, __u16 before, __u16 after)
{
	__u32 sum = (__u16)~check + (__u16)~before + after;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __u32 folded(__u32 word)
{
	return (word & 0xffff) + (word >> 16);
}

static __always_inline void turn(struct frame *frame)
{
	__builtin_memcpy(frame->target, frame->source, sizeof(frame->target));
	__builtin_memcpy(frame->source, identity.mac, sizeof(frame->source));
}

static __always_inline __u32 answer_arp(void *data, void *end)
{
	struct arp *arp = data + ETH_HLEN;

	if ((void *)(arp + 1) > end)
		return MALFORMED;
	if (arp->operation != ARP_REQUEST)
		return NONE;
	if (arp->target_ip[0] != identity.ip4[0] || arp->target_ip[1] != identity.ip4[1])
		return NONE;
	arp->operation = ARP_REPLY;
	__builtin_memcpy(arp->target_mac, arp->sender_mac, sizeof(arp->target_mac));
	__builtin_memcpy(arp->target_ip, arp->sender_ip, sizeof(arp->target_ip));
	__builtin_memcpy(arp->sender_mac, identity.mac, sizeof(arp->sender_mac));
	__builtin_memcpy(arp->sender_ip, identity.ip4, sizeof(arp->sender_ip));
	turn(data);
	return ARP;
}

static __always_inline __u32 answer_echo(void *data, void *end)
{
	struct iphdr *ip = data + IP_OFFSET;
	struct icmp *icmp = (void *)(ip + 1);
	__be32 source;

	if ((void *)(ip + 1) > end)
		return MALFORMED;
	if (*(__u8 *)ip != 0x45 || ip->protocol != IPPROTO_ICMP)
		return NONE;
	if (ip->daddr != (identity.ip4[0] | (__u32)identity.ip4[1] << 16))
		return NONE;
	if ((void *)(icmp + 1) > end)
		return MALFORMED;
	if (icmp->type != ECHO_REQUEST)
		return NONE;
	icmp->type = ECHO_REPLY;
	icmp->check = mended(icmp->check, ECHO_REQUEST, ECHO_REPLY);
	source = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = source;
	ip->check = mended(ip->check, ip->ttl, 64);
	ip->ttl = 64;
	turn(data);
	return ECHO;
}

static __always_inline int is_ours(__u32 *address)
{
	return address[0] == identity.ip6[0] && address[1] == identity.ip6[1] &&
	       address[2] == identity.ip6[2] && address[3] == identity.ip6[3];
}

static __always_inline void set_source(struct ipv6hdr *ip)
{
	ip->daddr = ip->saddr;
	__builtin_memcpy(&ip->saddr, identity.ip6, sizeof(ip->saddr));
	ip->hop_limit = 255;
}

static __always_inline __u32 answer_neighbour(struct ipv6hdr *ip, void *end)
{
	struct neighbour *n = (void *)(ip + 1);
	__u64 sum = ADVERTISEMENT + SOLICITED_OVERRIDE + 0x0102;
	int i;

	if ((void *)(n + 1) > end)
		return MALFORMED;
	if (!is_ours(n->target))
		return NONE;
	if (n->option != 1 || n->option_length != 1)
		return MALFORMED;
	n->type = ADVERTISEMENT;
	n->flags = SOLICITED_OVERRIDE;
	n->option = 2;
	__builtin_memcpy(n->mac, identity.mac, sizeof(n->mac));
	set_source(ip);
	/* The whole checksum: addresses, length, protocol, message. */
	for (i = 0; i < 4; i++)
		sum += folded(ip->saddr.in6_u.u6_addr32[i]) +
		       folded(ip->daddr.in6_u.u6_addr32[i]) + folded(n->target[i]);
	sum += n->mac[0] + n->mac[1] + n->mac[2];
	sum += bpf_htons(32) + bpf_htons(IPPROTO_ICMPV6);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	n->check = ~sum;
	return NEIGHBOUR;
}

static __always_inline __u32 answer_ipv6(void *data, void *end)
{
	struct ipv6hdr *ip = data + IP_OFFSET;
	struct icmp *icmp = (void *)(ip + 1);
	__u32 answer = NONE;

	if ((void *)(ip + 1) > end)
		return MALFORMED;
	if (ip->nexthdr != IPPROTO_ICMPV6)
		return NONE;
	if ((void *)(icmp + 1) > end)
		return MALFORMED;
	if (icmp->type == SOLICITATION) {
		answer = answer_neighbour(ip, end);
	} else if (icmp->type == ECHO6_REQUEST && is_ours(ip->daddr.in6_u.u6_addr32)) {
		icmp->type = ECHO6_REPLY;
		icmp->check = mended(icmp->check, ECHO6_REQUEST, ECHO6_REPLY);
		set_source(ip);
		answer = ECHO6;
	}
	if (answer == NEIGHBOUR || answer == ECHO6)
		turn(data);
	return answer;
}

static __always_inline __u32 answer_to(void *data, void *end)
{
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return MALFORMED;
	if (eth->h_proto == bpf_htons(ETH_P_ARP))
		return answer_arp(data, end);
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return answer_echo(data, end);
	return eth->h_proto == bpf_htons(ETH_P_IPV6) ? answer_ipv6(data, end) : NONE;
}

SEC("xdp")
int respond(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 answer = answer_to(data, end);
	__u64 *seen = bpf_map_lookup_elem(&answers, &answer);

	if (seen)
		*seen += 1;
	return answer == NONE || answer == MALFORMED ? XDP_PASS : XDP_TX;
}

char _license[] SEC("license") = "GPL";
