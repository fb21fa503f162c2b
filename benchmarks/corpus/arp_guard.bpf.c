// SPDX-License-Identifier: Apache-2.0
/* The C twin of arp_guard.py. */
#include "corpus.bpf.h"

#define REQUEST bpf_htons(1)
#define REPLY bpf_htons(2)
#define ETHERNET bpf_htons(1)

enum { SPOOFED, MISMATCHED, UNKNOWN, GOOD, VERDICTS };

/* 32-bit addresses at odd halves: as halves, clang reads them in two loads, not in four. */
struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_mac[6];
	__be16 sender_ip[2];
	__u8 target_mac[6];
	__be16 target_ip[2];
};

struct owner {
	__u8 mac[6];
	__u16 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct owner);
} owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

static __always_inline int same(__u8 *a, __u8 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] &&
	       a[4] == b[4] && a[5] == b[5];
}

static __always_inline void count(__u32 verdict)
{
	__u64 *seen = bpf_map_lookup_elem(&verdicts, &verdict);

	if (seen)
		*seen += 1;
}

SEC("xdp")
int arp_guard(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct arp *arp = (void *)(eth + 1);
	struct owner *owner;
	__be32 sender;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_ARP))
		return XDP_PASS;
	if ((void *)(arp + 1) > end)
		return XDP_DROP;
	if (arp->hardware != ETHERNET || arp->protocol != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if (arp->hardware_length != 6 || arp->protocol_length != 4)
		return XDP_DROP;
	if (arp->operation != REQUEST && arp->operation != REPLY)
		return XDP_PASS;
	if (!same(arp->sender_mac, eth->h_source)) {
		count(MISMATCHED);
		return XDP_DROP;
	}
	__builtin_memcpy(&sender, arp->sender_ip, sizeof(sender));
	owner = bpf_map_lookup_elem(&owners, &sender);
	if (!owner) {
		count(UNKNOWN);
		return XDP_PASS;
	}
	if (!same(arp->sender_mac, owner->mac)) {
		count(SPOOFED);
		return XDP_DROP;
	}
	count(GOOD);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
