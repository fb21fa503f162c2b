// SPDX-License-Identifier: Apache-2.0
/* The C twin of tcp_options.py. */
#include "corpus.bpf.h"

#define SYN 0x02
#define END 0
#define NOP 1
#define MSS 2
#define WSCALE 3
#define SACK_PERMITTED 4
#define TIMESTAMP 8
#define MOST_OPTIONS 10

struct offer {
	__u16 mss;
	__u8 wscale;
	__u8 sack;
	__u8 timestamp;
	__u8 options;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct offer);
} offers SEC(".maps");

static __always_inline void parse(struct xdp_md *ctx, struct offer *offer, __u32 start,
				  __u32 last)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 at = start;
	__u8 *option;
	int i;

	for (i = 0; i < MOST_OPTIONS; i++) {
		option = data + at;
		if (at >= last || (void *)(option + 1) > end || option[0] == END)
			return;
		if (option[0] == NOP) {
			at += 1;
			continue;
		}
		if ((void *)(option + 2) > end || option[1] < 2)
			return;
		offer->options += 1;
		switch (option[0]) {
		case MSS:
			if ((void *)(option + 4) <= end)
				offer->mss = bpf_ntohs(*(__be16 *)(option + 2));
			break;
		case WSCALE:
			if ((void *)(option + 3) <= end)
				offer->wscale = option[2];
			break;
		case SACK_PERMITTED:
			offer->sack = 1;
			break;
		case TIMESTAMP:
			offer->timestamp = 1;
			break;
		}
		at += option[1];
	}
}

SEC("xdp")
int syn_options(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + IP_OFFSET;
	struct tcphdr *tcp = (void *)(ip + 1);
	struct offer offer = {};
	__be32 source;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end || ip->protocol != IPPROTO_TCP)
		return XDP_PASS;
	if (*(__u8 *)ip != 0x45 || (void *)(tcp + 1) > end)
		return XDP_PASS;
	if (!tcp->syn)
		return XDP_PASS;
	source = ip->saddr;
	parse(ctx, &offer, IP_OFFSET + 40, IP_OFFSET + 20 + tcp->doff * 4);
	bpf_map_update_elem(&offers, &source, &offer, BPF_ANY);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
