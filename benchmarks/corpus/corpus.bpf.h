/* SPDX-License-Identifier: Apache-2.0 */
/* What the C twins of the corpus share: the counterpart of headers.py. */
#ifndef BEEWIRE_CORPUS_H
#define BEEWIRE_CORPUS_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_vlan.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define AF_INET6 10
#define IP_OFFSET 14
#define UDP_PAYLOAD 42

struct vlan {
	__be16 tci;
	__be16 protocol;
};

struct ports {
	__be16 source;
	__be16 target;
};

static __always_inline __u32 rotl32(__u32 x, int k)
{
	return x << k | x >> (32 - k);
}

static __always_inline __u64 rotl64(__u64 x, int k)
{
	return x << k | x >> (64 - k);
}

/* Whether the frame is UDP in IPv4 without options, so that UDP_PAYLOAD holds. */
static __always_inline int is_plain_udp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return 0;
	if ((void *)(ip + 1) > end)
		return 0;
	return *(__u8 *)ip == 0x45 && ip->protocol == IPPROTO_UDP;
}

#endif
