// SPDX-License-Identifier: Apache-2.0
/* The C twin of siphash.py. */
#include "corpus.bpf.h"

#define ACK 0x10
#define SYN 0x02

struct secret {
	__u64 k0, k1;
} secret;

struct stats {
	__u64 cookies, good, bad;
	__u32 last;
} stats;

#define sip_round()                                                            \
	do {                                                                   \
		v0 += v1; v1 = rotl64(v1, 13) ^ v0; v0 = rotl64(v0, 32);       \
		v2 += v3; v3 = rotl64(v3, 16) ^ v2;                            \
		v0 += v3; v3 = rotl64(v3, 21) ^ v0;                            \
		v2 += v1; v1 = rotl64(v1, 17) ^ v2; v2 = rotl64(v2, 32);       \
	} while (0)

#define absorb(word)                                                           \
	do {                                                                   \
		__u64 m = word;                                                \
		v3 ^= m;                                                       \
		sip_round();                                                   \
		sip_round();                                                   \
		v0 ^= m;                                                       \
	} while (0)

static __always_inline __u32 cookie_of(__u64 addresses, __u32 ports, __u32 seq)
{
	__u64 v0 = 0x736f6d6570736575 ^ secret.k0;
	__u64 v1 = 0x646f72616e646f6d ^ secret.k1;
	__u64 v2 = 0x6c7967656e657261 ^ secret.k0;
	__u64 v3 = 0x7465646279746573 ^ secret.k1;

	absorb(addresses);
	absorb((__u64)ports << 32 | seq);
	absorb(16ULL << 56);
	v2 ^= 0xff;
	sip_round();
	sip_round();
	sip_round();
	sip_round();
	return v0 ^ v1 ^ v2 ^ v3;
}

SEC("xdp")
int syn_cookie(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;
	struct tcphdr *tcp = (void *)(ip + 1);
	__u32 seq, cookie;
	__u8 flags;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end || ip->protocol != IPPROTO_TCP)
		return XDP_PASS;
	if (*(__u8 *)ip != 0x45 || (void *)(tcp + 1) > end)
		return XDP_PASS;
	flags = ((__u8 *)tcp)[13] & (SYN | ACK);
	if (flags != SYN && flags != ACK)
		return XDP_PASS;
	seq = bpf_ntohl(tcp->seq);
	if (flags == ACK)
		seq -= 1;
	cookie = cookie_of((__u64)ip->saddr << 32 | ip->daddr,
			   (__u32)tcp->source << 16 | tcp->dest, seq);
	stats.last = cookie;
	if (flags == SYN) {
		stats.cookies += 1;
		return XDP_PASS;
	}
	if (tcp->ack_seq == bpf_htonl(cookie + 1)) {
		stats.good += 1;
		return XDP_PASS;
	}
	stats.bad += 1;
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
