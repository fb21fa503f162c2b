// SPDX-License-Identifier: Apache-2.0
/* The C twin of quic_router.py. */
#include "corpus.bpf.h"

#define QUIC_PORT 443
#define LONG_HEADER 0x80
#define FIXED_BIT 0x40
#define VERSION_1 1
#define VERSION_2 0x6b3343cf
#define SHORTEST_ID 8
#define LONGEST_ID 20

enum { INITIAL, LONG, SHORT, NEGOTIATION, INVALID, KINDS };

struct long_header {
	__u8 first;
	__u8 version[4];
	__u8 id_length;
	__u8 id[8];
};

struct short_header {
	__u8 first;
	__u8 id[8];
};

struct client {
	__u32 address;
	__u32 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KINDS);
	__type(key, __u32);
	__type(value, __u64);
} kinds SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u32);
} servers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct client);
	__type(value, __u32);
} initials SEC(".maps");

static __always_inline void count(__u32 kind)
{
	__u64 *seen = bpf_map_lookup_elem(&kinds, &kind);

	if (seen)
		*seen += 1;
}

static __always_inline __u32 big_endian(__u8 *b)
{
	return (__u32)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
}

static __always_inline int route(__u32 server)
{
	__u32 *socket = bpf_map_lookup_elem(&servers, &server);

	if (!socket || *socket == 0)
		return XDP_PASS;
	return XDP_REDIRECT;
}

SEC("xdp")
int quic_router(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + IP_OFFSET;
	struct udphdr *udp = (void *)(ip + 1);
	struct long_header *lh = data + UDP_PAYLOAD;
	struct short_header *sh = data + UDP_PAYLOAD;
	struct client client;
	__u32 version, server;

	if (!is_plain_udp(ctx))
		return XDP_PASS;
	if ((void *)(udp + 1) > end || udp->dest != bpf_htons(QUIC_PORT))
		return XDP_PASS;
	if ((void *)(sh + 1) > end || !(sh->first & FIXED_BIT)) {
		count(INVALID);
		return XDP_DROP;
	}
	if (!(sh->first & LONG_HEADER)) {
		count(SHORT);
		return route(sh->id[1]);
	}
	if ((void *)(lh + 1) > end) {
		count(INVALID);
		return XDP_DROP;
	}
	version = big_endian(lh->version);
	if (version == 0) {
		count(NEGOTIATION);
		return XDP_PASS;
	}
	if (version != VERSION_1 && version != VERSION_2) {
		count(INVALID);
		return XDP_PASS;
	}
	if (lh->id_length < SHORTEST_ID || lh->id_length > LONGEST_ID) {
		count(INVALID);
		return XDP_DROP;
	}
	/* The type of the packet: 0 is Initial in version 1, 1 in version 2. */
	if ((lh->first >> 4 & 3) != (version == VERSION_2 ? 1 : 0)) {
		count(LONG);
		return route(lh->id[1]);
	}
	count(INITIAL);
	client.address = bpf_ntohl(ip->saddr);
	client.port = udp->source;
	server = lh->id[1];
	bpf_map_update_elem(&initials, &client, &server, BPF_ANY);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
