// SPDX-License-Identifier: Apache-2.0
/* The C twin of chacha.py. */
#include "corpus.bpf.h"

#define ROUNDS 4

struct block {
	__u32 words[16];
};

struct masking {
	__u32 key[8];
	__u32 nonce[2];
	__u32 port;
	__u32 blocks;
} masking;

static __always_inline void quarter(struct block *s, int a, int b, int c, int d)
{
	s->words[a] += s->words[b];
	s->words[d] = rotl32(s->words[d] ^ s->words[a], 16);
	s->words[c] += s->words[d];
	s->words[b] = rotl32(s->words[b] ^ s->words[c], 12);
	s->words[a] += s->words[b];
	s->words[d] = rotl32(s->words[d] ^ s->words[a], 8);
	s->words[c] += s->words[d];
	s->words[b] = rotl32(s->words[b] ^ s->words[c], 7);
}

static __always_inline void start(struct block *s, __u32 counter)
{
	int i;

	s->words[0] = 0x61707865;
	s->words[1] = 0x3320646e;
	s->words[2] = 0x79622d32;
	s->words[3] = 0x6b206574;
	for (i = 0; i < 8; i++)
		s->words[4 + i] = masking.key[i];
	s->words[12] = counter;
	s->words[13] = 0;
	s->words[14] = masking.nonce[0];
	s->words[15] = masking.nonce[1];
}

SEC("xdp")
int mask_payload(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct udphdr *udp = data + IP_OFFSET + 20;
	struct block *payload = data + UDP_PAYLOAD;
	struct block s, first;
	int i;

	if (masking.port == 0 || !is_plain_udp(ctx))
		return XDP_PASS;
	if ((void *)(udp + 1) > end || udp->dest != masking.port)
		return XDP_PASS;
	if ((void *)(payload + 1) > end)
		return XDP_PASS;
	start(&s, udp->source);
	start(&first, udp->source);
	for (i = 0; i < ROUNDS; i++) {
		quarter(&s, 0, 4, 8, 12);
		quarter(&s, 1, 5, 9, 13);
		quarter(&s, 2, 6, 10, 14);
		quarter(&s, 3, 7, 11, 15);
		quarter(&s, 0, 5, 10, 15);
		quarter(&s, 1, 6, 11, 12);
		quarter(&s, 2, 7, 8, 13);
		quarter(&s, 3, 4, 9, 14);
	}
	for (i = 0; i < 16; i++)
		payload->words[i] ^= s.words[i] + first.words[i];
	masking.blocks += 1;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
