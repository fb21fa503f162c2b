// SPDX-License-Identifier: Apache-2.0
/* The C twin of beewire/mesh/programs/outbound.py. */
#include "state.bpf.h"

#define SPREAD 64
#define FIRST_TARGET 0x7f400001
#define ENVOY_INBOUND4 bpf_htonl(0x7f000006)
#define ENVOY_INBOUND6 bpf_htonl(6)
#define LOCALHOST4 bpf_htonl(0x7f000001)
#define LOCALHOST6 bpf_htonl(1)
#define ANY 0

static __always_inline int is_sidecar(void)
{
	return bpf_get_current_ancestor_cgroup_id(settings.proxy_level) ==
	       settings.proxy_cgroup;
}

static __always_inline __u32 decide4(struct endpoint *wanted, __u32 ip, __u32 bound)
{
	if ((ip & NET8) != LOOPBACK_NET &&
	    !bpf_map_lookup_elem(&local_addresses, &wanted->address)) {
		if (is_sidecar())
			return OUTBOUND_PROXY;
		return OUTBOUND_CAPTURED;
	}
	if (!is_sidecar())
		return OUTBOUND_LOCAL;
	if (bound == ENVOY_INBOUND4 || ip == LOCALHOST4 || ip == ANY)
		return OUTBOUND_PROXY;
	if (wanted->port == settings.tunnel_port)
		return OUTBOUND_PROXY;
	return OUTBOUND_SELF_CALL;
}

static __always_inline int is_localhost6(struct address *address)
{
	if ((address->words[0] | address->words[1] | address->words[2]) != 0)
		return 0;
	return address->words[3] == LOCALHOST6 || address->words[3] == ANY;
}

static __always_inline __u32 decide6(struct endpoint *wanted, __u32 bound)
{
	if (!bpf_map_lookup_elem(&local_addresses, &wanted->address)) {
		if (is_sidecar())
			return OUTBOUND_PROXY;
		return OUTBOUND_CAPTURED;
	}
	if (!is_sidecar())
		return OUTBOUND_LOCAL;
	if (bound == ENVOY_INBOUND6 || is_localhost6(&wanted->address))
		return OUTBOUND_PROXY;
	if (wanted->port == settings.tunnel_port)
		return OUTBOUND_PROXY;
	return OUTBOUND_SELF_CALL;
}

static __always_inline __u32 listener_port(__u32 decision)
{
	if (decision == OUTBOUND_CAPTURED)
		return settings.outbound_port;
	if (decision == OUTBOUND_SELF_CALL)
		return settings.inbound_port;
	return 0;
}

static __always_inline __u32 spread_target(void)
{
	return bpf_htonl(FIRST_TARGET + (bpf_get_prandom_u32() & (SPREAD - 1)));
}

static __always_inline int keep_source4(struct bpf_sock_addr *ctx)
{
	struct sockaddr_in source = { .sin_family = AF_INET };

	if (ctx->sk->src_ip4 != 0 || ctx->sk->src_port != 0)
		return 1;
	source.sin_addr.s_addr = settings.source4;
	return bpf_bind(ctx, (struct sockaddr *)&source, sizeof(source)) == 0;
}

static __always_inline int keep_source6(struct bpf_sock_addr *ctx, int mapped)
{
	struct sockaddr_in6 source = { .sin6_family = AF_INET6 };

	if (ctx->sk->src_ip6[3] != 0 || ctx->sk->src_port != 0)
		return 1;
	if (mapped) {
		source.sin6_addr.s6_addr32[2] = MAPPED;
		source.sin6_addr.s6_addr32[3] = settings.source4;
	} else {
		source.sin6_addr.s6_addr32[0] = settings.source6.words[0];
		source.sin6_addr.s6_addr32[1] = settings.source6.words[1];
		source.sin6_addr.s6_addr32[2] = settings.source6.words[2];
		source.sin6_addr.s6_addr32[3] = settings.source6.words[3];
	}
	return bpf_bind(ctx, (struct sockaddr *)&source, sizeof(source)) == 0;
}

static __always_inline int remember(struct bpf_sock_addr *ctx, struct endpoint *wanted,
				    __u32 target, __u32 port)
{
	struct dialled *state;

	state = bpf_sk_storage_get(&dialled, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state)
		return 0;
	state->wanted = *wanted;
	state->target = target;
	state->target_port = port;
	return 1;
}

static __always_inline __u32 alias_of(struct endpoint *wanted)
{
	__u32 *known = bpf_map_lookup_elem(&aliases, wanted);
	__u32 alias, mixed;

	if (known)
		return *known;
	mixed = (wanted->address.words[3] + wanted->port * 0x85ebca6b) * 0x9e3779b1;
	alias = bpf_htonl(FIRST_ALIAS | (mixed >> 16));
	if (bpf_map_update_elem(&originals, &alias, wanted, BPF_NOEXIST) != 0)
		return 0;
	if (bpf_map_update_elem(&aliases, wanted, &alias, BPF_NOEXIST) != 0) {
		bpf_map_delete_elem(&originals, &alias);
		return 0;
	}
	return alias;
}

static __always_inline __u32 target_of(struct bpf_sock_addr *ctx, struct endpoint *wanted,
				       __u32 port)
{
	__u32 target = alias_of(wanted);

	if (target)
		return target;
	target = spread_target();
	return remember(ctx, wanted, target, port) ? target : 0;
}

static __always_inline int redirect4(struct bpf_sock_addr *ctx, struct endpoint *wanted,
				     __u32 port)
{
	__u32 target = target_of(ctx, wanted, port);

	if (target == 0 || !keep_source4(ctx)) {
		count(OUTBOUND_REFUSED);
		return DENY;
	}
	ctx->user_ip4 = target;
	ctx->user_port = port;
	return ALLOW;
}

static __always_inline int redirect_mapped(struct bpf_sock_addr *ctx,
					   struct endpoint *wanted, __u32 port)
{
	__u32 target = target_of(ctx, wanted, port);

	if (target == 0 || !keep_source6(ctx, 1)) {
		count(OUTBOUND_REFUSED);
		return DENY;
	}
	ctx->user_ip6[3] = target;
	ctx->user_port = port;
	return ALLOW;
}

static __always_inline int redirect6(struct bpf_sock_addr *ctx, struct endpoint *wanted,
				     __u32 port)
{
	if (!keep_source6(ctx, 0) || !remember(ctx, wanted, LOCALHOST6, port)) {
		count(OUTBOUND_REFUSED);
		return DENY;
	}
	ctx->user_ip6[0] = 0;
	ctx->user_ip6[1] = 0;
	ctx->user_ip6[2] = 0;
	ctx->user_ip6[3] = LOCALHOST6;
	ctx->user_port = port;
	return ALLOW;
}

SEC("cgroup/connect4")
int outbound4(struct bpf_sock_addr *ctx)
{
	struct endpoint wanted = {};
	__u32 decision, port;

	if (ctx->protocol != IPPROTO_TCP)
		return ALLOW;
	if (settings.outbound_port == 0) {
		count(OUTBOUND_REFUSED);
		return DENY;
	}
	wanted.port = ctx->user_port;
	wanted.address.words[2] = MAPPED;
	wanted.address.words[3] = ctx->user_ip4;
	decision = decide4(&wanted, ctx->user_ip4, ctx->sk->src_ip4);
	count(decision);
	port = listener_port(decision);
	if (port == 0)
		return ALLOW;
	return redirect4(ctx, &wanted, port);
}

SEC("cgroup/connect6")
int outbound6(struct bpf_sock_addr *ctx)
{
	struct endpoint wanted = {};
	__u32 decision, port;
	int mapped;

	if (ctx->protocol != IPPROTO_TCP)
		return ALLOW;
	if (settings.outbound_port == 0) {
		count(OUTBOUND_REFUSED);
		return DENY;
	}
	wanted.port = ctx->user_port;
	wanted.address.words[0] = ctx->user_ip6[0];
	wanted.address.words[1] = ctx->user_ip6[1];
	wanted.address.words[2] = ctx->user_ip6[2];
	wanted.address.words[3] = ctx->user_ip6[3];
	mapped = (wanted.address.words[0] | wanted.address.words[1]) == 0 &&
		 wanted.address.words[2] == MAPPED;
	if (mapped)
		decision = decide4(&wanted, wanted.address.words[3], ctx->sk->src_ip4);
	else
		decision = decide6(&wanted, ctx->sk->src_ip6[3]);
	count(decision);
	port = listener_port(decision);
	if (port == 0)
		return ALLOW;
	if (mapped)
		return redirect_mapped(ctx, &wanted, port);
	return redirect6(ctx, &wanted, port);
}
