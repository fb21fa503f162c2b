// SPDX-License-Identifier: Apache-2.0
/* The C twin of beewire/mesh/programs/original.py. */
#include "state.bpf.h"

#define SO_ORIGINAL_DST 80
#define SOL_IP 0
#define SOL_IPV6 41
#define PAGE 4096

static __always_inline int is_redirected(__u32 port)
{
	return port == 0 || is_listener(port);
}

static __always_inline struct endpoint *redirected(struct bpf_sockopt *ctx)
{
	__u32 ip = ctx->sk->src_ip4;

	if (is_alias(ip))
		return bpf_map_lookup_elem(&originals, &ip);
	return bpf_sk_storage_get(&arrived, ctx->sk, 0, 0);
}

static __always_inline void answer4(struct bpf_sockopt *ctx)
{
	struct sockaddr_in *out = ctx->optval;
	struct endpoint *wanted;
	__u32 port;

	if ((void *)(out + 1) > ctx->optval_end)
		return;
	port = bpf_htons(ctx->sk->src_port);
	if (is_redirected(port)) {
		wanted = redirected(ctx);
		if (!wanted)
			return;
		out->sin_addr.s_addr = wanted->address.words[3];
		out->sin_port = wanted->port;
	} else {
		out->sin_addr.s_addr = ctx->sk->src_ip4;
		out->sin_port = port;
	}
	out->sin_family = AF_INET;
	__builtin_memset(out->__pad, 0, sizeof(out->__pad));
	WRITE_ONCE(ctx->optlen, sizeof(*out));
	WRITE_ONCE(ctx->retval, 0);
}

static __always_inline void answer6(struct bpf_sockopt *ctx)
{
	struct sockaddr_in6 *out = ctx->optval;
	struct endpoint *wanted;
	__u32 port;

	if ((void *)(out + 1) > ctx->optval_end)
		return;
	port = bpf_htons(ctx->sk->src_port);
	if (is_redirected(port)) {
		wanted = redirected(ctx);
		if (!wanted)
			return;
		out->sin6_addr.s6_addr32[0] = wanted->address.words[0];
		out->sin6_addr.s6_addr32[1] = wanted->address.words[1];
		out->sin6_addr.s6_addr32[2] = wanted->address.words[2];
		out->sin6_addr.s6_addr32[3] = wanted->address.words[3];
		out->sin6_port = wanted->port;
	} else {
		out->sin6_addr.s6_addr32[0] = ctx->sk->src_ip6[0];
		out->sin6_addr.s6_addr32[1] = ctx->sk->src_ip6[1];
		out->sin6_addr.s6_addr32[2] = ctx->sk->src_ip6[2];
		out->sin6_addr.s6_addr32[3] = ctx->sk->src_ip6[3];
		out->sin6_port = port;
	}
	out->sin6_family = AF_INET6;
	out->sin6_flowinfo = 0;
	out->sin6_scope_id = 0;
	WRITE_ONCE(ctx->optlen, sizeof(*out));
	WRITE_ONCE(ctx->retval, 0);
}

SEC("cgroup/getsockopt")
int original_destination(struct bpf_sockopt *ctx)
{
	if (ctx->optlen > PAGE) {
		ctx->optlen = 0;
		return ALLOW;
	}
	if (ctx->optname != SO_ORIGINAL_DST || ctx->retval == 0)
		return ALLOW;
	if (ctx->level == SOL_IP)
		answer4(ctx);
	else if (ctx->level == SOL_IPV6)
		answer6(ctx);
	return ALLOW;
}
