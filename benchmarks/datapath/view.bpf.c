// SPDX-License-Identifier: Apache-2.0
/* The C twin of beewire/mesh/programs/view.py. */
#include "state.bpf.h"

static __always_inline struct endpoint *named_by_alias(__u32 ip, __u32 port)
{
	if (!is_alias(ip) || !is_listener(port))
		return 0;
	return bpf_map_lookup_elem(&originals, &ip);
}

SEC("cgroup/getpeername4")
int peer4(struct bpf_sock_addr *ctx)
{
	struct endpoint *wanted = named_by_alias(ctx->user_ip4, ctx->user_port);
	struct dialled *state;

	if (wanted) {
		ctx->user_ip4 = wanted->address.words[3];
		ctx->user_port = wanted->port;
		return ALLOW;
	}
	state = bpf_sk_storage_get(&dialled, ctx->sk, 0, 0);
	if (!state)
		return ALLOW;
	if (ctx->user_ip4 == state->target && ctx->user_port == state->target_port) {
		ctx->user_ip4 = state->wanted.address.words[3];
		ctx->user_port = state->wanted.port;
	}
	return ALLOW;
}

SEC("cgroup/getpeername6")
int peer6(struct bpf_sock_addr *ctx)
{
	struct endpoint *wanted = 0;
	struct dialled *state;

	if (ctx->user_ip6[2] == MAPPED)
		wanted = named_by_alias(ctx->user_ip6[3], ctx->user_port);
	if (wanted) {
		ctx->user_ip6[3] = wanted->address.words[3];
		ctx->user_port = wanted->port;
		barrier();
		return ALLOW;
	}
	state = bpf_sk_storage_get(&dialled, ctx->sk, 0, 0);
	if (!state)
		return ALLOW;
	if (ctx->user_ip6[3] == state->target && ctx->user_port == state->target_port) {
		ctx->user_ip6[0] = state->wanted.address.words[0];
		ctx->user_ip6[1] = state->wanted.address.words[1];
		ctx->user_ip6[2] = state->wanted.address.words[2];
		ctx->user_ip6[3] = state->wanted.address.words[3];
		ctx->user_port = state->wanted.port;
	}
	return ALLOW;
}
