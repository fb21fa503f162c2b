// SPDX-License-Identifier: Apache-2.0
/* The C twin of beewire/mesh/programs/inbound.py. */
#include "state.bpf.h"

static __always_inline int comes_from_inside(struct bpf_sk_lookup *ctx)
{
	struct address peer = {};

	if (ctx->family == AF_INET) {
		if ((ctx->local_ip4 & NET8) == LOOPBACK_NET)
			return 1;
		if ((ctx->remote_ip4 & NET8) == LOOPBACK_NET)
			return 1;
		peer.words[2] = MAPPED;
		peer.words[3] = ctx->remote_ip4;
	} else {
		peer.words[0] = ctx->remote_ip6[0];
		peer.words[1] = ctx->remote_ip6[1];
		peer.words[2] = ctx->remote_ip6[2];
		peer.words[3] = ctx->remote_ip6[3];
	}
	return bpf_map_lookup_elem(&local_addresses, &peer) != NULL;
}

static __always_inline int assign(struct bpf_sk_lookup *ctx, __u32 slot)
{
	struct bpf_sock *listener = bpf_map_lookup_elem(&listeners, &slot);
	long refused;

	if (!listener)
		return 0;
	refused = bpf_sk_assign(ctx, listener, 0);
	bpf_sk_release(listener);
	return refused == 0;
}

SEC("sk_lookup")
int inbound(struct bpf_sk_lookup *ctx)
{
	__u32 port;

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	if (comes_from_inside(ctx)) {
		count(INBOUND_LOCAL);
		return SK_PASS;
	}
	port = bpf_htons(ctx->local_port);
	if (bpf_map_lookup_elem(&excluded_inbound_ports, &port)) {
		count(INBOUND_EXCLUDED);
		return SK_PASS;
	}
	if ((ctx->family == AF_INET && assign(ctx, V4_LISTENER)) ||
	    assign(ctx, V6_LISTENER)) {
		count(INBOUND_CAPTURED);
		return SK_PASS;
	}
	count(INBOUND_REFUSED);
	return SK_DROP;
}
