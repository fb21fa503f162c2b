// SPDX-License-Identifier: Apache-2.0
/* The C twin of syn_proxy.py. */
#include "corpus.bpf.h"

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10
#define PERIOD_SHIFT 36
#define JHASH_INITVAL 0xdeadbeef
#define MSS_CLASSES 4

enum outcome { PASSED, COOKIE, ADMITTED, FORGED, KNOWN, MALFORMED, OUTCOMES };

struct client {
	__be32 address;
	__be32 target;
	__be16 port;
	__be16 target_port;
};

struct service {
	__be32 address;
	__be16 port;
	__u16 window;
};

struct keys {
	__u32 first;
	__u32 second;
} keys;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct client);
	__type(value, __u64);
} admitted SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

static __always_inline __u32 jhash_3words(__u32 a, __u32 b, __u32 c, __u32 seed)
{
	__u32 start = JHASH_INITVAL + (3 << 2) + seed;

	a += start;
	b += start;
	c += start;
	c ^= b; c -= rotl32(b, 14);
	a ^= c; a -= rotl32(c, 11);
	b ^= a; b -= rotl32(a, 25);
	c ^= b; c -= rotl32(b, 16);
	a ^= c; a -= rotl32(c, 4);
	b ^= a; b -= rotl32(a, 14);
	c ^= b; c -= rotl32(b, 24);
	return c;
}

static __always_inline __u32 cookie_of(struct client *client, __u32 seq, __u32 period,
				       __u32 mss)
{
	__u32 ports = (__u32)client->port << 16 | client->target_port;
	__u32 first = jhash_3words(client->address, client->target, ports, keys.first);
	__u32 second = jhash_3words(client->address, client->target, ports,
				    keys.second + period);

	return first + seq + ((period & 63) << 26) + ((second + mss) & 0xffffff);
}

static __always_inline int is_good(struct client *client, __u32 seq, __u32 cookie,
				   __u32 period)
{
	__u32 mss;

	for (mss = 0; mss < MSS_CLASSES; mss++)
		if (cookie_of(client, seq, period, mss) == cookie)
			return 1;
	return 0;
}

static __always_inline __u32 folded(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline __u32 halves(__u32 word)
{
	return (word & 0xffff) + (word >> 16);
}

static __always_inline void reply(struct ethhdr *eth, struct iphdr *ip, struct tcphdr *tcp,
				  __u32 cookie, __u16 window)
{
	__u8 mac[ETH_ALEN];
	__be32 address;
	__be16 port;
	__u32 sum;

	__builtin_memcpy(mac, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, mac, ETH_ALEN);
	address = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = address;
	ip->ttl = 64;
	ip->tot_len = bpf_htons(40);
	ip->check = 0;
	sum = 0x45 | ip->tos << 8;
	sum += bpf_htons(40) + ip->id + ip->frag_off;
	sum += 64 | IPPROTO_TCP << 8;
	sum += halves(ip->saddr) + halves(ip->daddr);
	ip->check = folded(sum) ^ 0xffff;
	port = tcp->source;
	tcp->source = tcp->dest;
	tcp->dest = port;
	tcp->ack_seq = bpf_htonl(bpf_ntohl(tcp->seq) + 1);
	tcp->seq = bpf_htonl(cookie);
	((__u8 *)tcp)[12] = 5 << 4;
	((__u8 *)tcp)[13] = SYN | ACK;
	tcp->window = window;
	tcp->urg_ptr = 0;
	sum = bpf_htons(IPPROTO_TCP) + bpf_htons(20) + halves(ip->saddr) + halves(ip->daddr);
	sum += tcp->source + tcp->dest + halves(tcp->seq) + halves(tcp->ack_seq);
	sum += (5 << 4 | (SYN | ACK) << 8) + window;
	tcp->check = folded(sum) ^ 0xffff;
}

static __always_inline __u32 protect(struct ethhdr *eth, struct iphdr *ip,
				     struct tcphdr *tcp, struct service *service)
{
	struct client client = {
		.address = ip->saddr,
		.target = ip->daddr,
		.port = tcp->source,
		.target_port = tcp->dest,
	};
	__u64 now = bpf_ktime_get_coarse_ns();
	__u32 period = now >> PERIOD_SHIFT, seq, cookie;
	__u8 flags = ((__u8 *)tcp)[13] & (SYN | ACK | RST | FIN);

	if (flags == SYN) {
		cookie = cookie_of(&client, bpf_ntohl(tcp->seq), period, 0);
		reply(eth, ip, tcp, cookie, service->window);
		return COOKIE;
	}
	if (bpf_map_lookup_elem(&admitted, &client))
		return KNOWN;
	if (flags != ACK)
		return FORGED;
	seq = bpf_ntohl(tcp->seq) - 1;
	cookie = bpf_ntohl(tcp->ack_seq) - 1;
	if (is_good(&client, seq, cookie, period) ||
	    is_good(&client, seq, cookie, period - 1)) {
		bpf_map_update_elem(&admitted, &client, &now, BPF_ANY);
		return ADMITTED;
	}
	return FORGED;
}

SEC("xdp")
int syn_proxy(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;
	struct tcphdr *tcp = (void *)(ip + 1);
	struct service *service;
	__u32 target, outcome;
	__u64 *seen;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end || ip->protocol != IPPROTO_TCP)
		return XDP_PASS;
	if (*(__u8 *)ip != 0x45 || (void *)(tcp + 1) > end)
		return XDP_PASS;
	target = ip->daddr;
	service = bpf_map_lookup_elem(&services, &target);
	if (!service || service->port != tcp->dest)
		return XDP_PASS;
	outcome = protect(eth, ip, tcp, service);
	seen = bpf_map_lookup_elem(&outcomes, &outcome);
	if (seen)
		*seen += 1;
	switch (outcome) {
	case COOKIE:
		return XDP_TX;
	case FORGED:
		return XDP_DROP;
	default:
		return XDP_PASS;
	}
}

char _license[] SEC("license") = "GPL";
