// SPDX-License-Identifier: Apache-2.0
/* The C twin of beewire/mesh/programs/handover.py. */
#include "state.bpf.h"

static __always_inline void name_by_client(struct handshake *key,
					   struct bpf_sock_ops *ctx)
{
	key->netns = bpf_get_netns_cookie(ctx);
	key->source_port = ctx->local_port;
	key->target_port = bpf_ntohl(ctx->remote_port);
	if (ctx->family == AF_INET6 && ctx->remote_ip6[2] != MAPPED) {
		key->source.words[0] = ctx->local_ip6[0];
		key->source.words[1] = ctx->local_ip6[1];
		key->source.words[2] = ctx->local_ip6[2];
		key->source.words[3] = ctx->local_ip6[3];
		key->target = ctx->remote_ip6[3];
		barrier();
	} else {
		key->source.words[2] = MAPPED;
		key->source.words[3] = ctx->local_ip4;
		key->target = ctx->remote_ip4;
	}
}

static __always_inline void name_by_server(struct handshake *key,
					   struct bpf_sock_ops *ctx)
{
	key->netns = bpf_get_netns_cookie(ctx);
	key->source_port = bpf_ntohl(ctx->remote_port);
	key->target_port = ctx->local_port;
	if (ctx->family == AF_INET6 && ctx->local_ip6[2] != MAPPED) {
		key->source.words[0] = ctx->remote_ip6[0];
		key->source.words[1] = ctx->remote_ip6[1];
		key->source.words[2] = ctx->remote_ip6[2];
		key->source.words[3] = ctx->remote_ip6[3];
		key->target = ctx->local_ip6[3];
		barrier();
	} else {
		key->source.words[2] = MAPPED;
		key->source.words[3] = ctx->remote_ip4;
		key->target = ctx->local_ip4;
	}
}

static __always_inline void begin(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct handshake key = {};
	struct dialled *state;

	if (!sk)
		return;
	state = bpf_sk_storage_get(&dialled, sk, 0, 0);
	if (!state)
		return;
	name_by_client(&key, ctx);
	if (key.target != state->target ||
	    bpf_htons(key.target_port) != state->target_port)
		return;
	bpf_map_update_elem(&handshakes, &key, &state->wanted, BPF_ANY);
	bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
}

static __always_inline void complete(struct bpf_sock_ops *ctx)
{
	struct endpoint *wanted, *place;
	struct handshake key = {};
	__u32 ip = ctx->local_ip4;
	struct bpf_sock *sk;

	if (!is_listener(bpf_htons(ctx->local_port)))
		return;
	if (is_alias(ip) && bpf_map_lookup_elem(&originals, &ip)) {
		count(HANDED_OVER);
		return;
	}
	name_by_server(&key, ctx);
	wanted = bpf_map_lookup_elem(&handshakes, &key);
	if (!wanted) {
		count(HANDOVER_MISSED);
		return;
	}
	sk = ctx->sk;
	if (!sk) {
		count(HANDOVER_MISSED);
		return;
	}
	place = bpf_sk_storage_get(&arrived, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!place) {
		count(HANDOVER_MISSED);
		return;
	}
	*place = *wanted;
	bpf_map_delete_elem(&handshakes, &key);
	count(HANDED_OVER);
}

static __always_inline void abandon(struct bpf_sock_ops *ctx)
{
	struct handshake key = {};

	if (ctx->args[1] != BPF_TCP_CLOSE)
		return;
	name_by_client(&key, ctx);
	if (bpf_map_lookup_elem(&handshakes, &key)) {
		bpf_map_delete_elem(&handshakes, &key);
		count(HANDOVER_ABANDONED);
	}
}

static __always_inline void keep_listener(struct bpf_sock_ops *ctx)
{
	__u32 slot;

	if (bpf_htons(ctx->local_port) != settings.inbound_port)
		return;
	if (bpf_get_current_ancestor_cgroup_id(settings.proxy_level) !=
	    settings.proxy_cgroup)
		return;
	slot = ctx->family == AF_INET6 ? V6_LISTENER : V4_LISTENER;
	bpf_sock_map_update(ctx, &listeners, &slot, BPF_ANY);
}

SEC("sockops")
int handover(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		begin(ctx);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		complete(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		abandon(ctx);
		break;
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		keep_listener(ctx);
		break;
	}
	return 1;
}
