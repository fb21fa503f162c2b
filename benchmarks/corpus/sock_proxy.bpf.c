// SPDX-License-Identifier: Apache-2.0
/* The C twin of sock_proxy.py. */
#include "corpus.bpf.h"

#define NET8 bpf_htonl(0xff000000)
#define LOOPBACK bpf_htonl(0x7f000000)

enum { ENTERED, CROSSED, BYTES, COUNTERS };

struct pair {
	__be32 local_ip;
	__be32 remote_ip;
	__u32 local_port;
	__u32 remote_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 65536);
	__type(key, struct pair);
	__type(value, __u64);
} socks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void add(__u32 which, __u64 amount)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &which);

	if (value)
		*value += amount;
}

SEC("sockops")
int enter(struct bpf_sock_ops *ctx)
{
	struct pair key = {};

	if (ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB &&
	    ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	if (ctx->family != AF_INET || (ctx->remote_ip4 & NET8) != LOOPBACK)
		return 1;
	key.local_ip = ctx->local_ip4;
	key.remote_ip = ctx->remote_ip4;
	key.local_port = ctx->local_port;
	key.remote_port = bpf_ntohl(ctx->remote_port);
	bpf_sock_hash_update(ctx, &socks, &key, BPF_ANY);
	add(ENTERED, 1);
	return 1;
}

SEC("sk_msg")
int cross(struct sk_msg_md *ctx)
{
	struct pair key = {};

	if (ctx->family != AF_INET || (ctx->remote_ip4 & NET8) != LOOPBACK)
		return SK_PASS;
	/* The key of the other end: what is local here is remote there. */
	key.local_ip = ctx->remote_ip4;
	key.remote_ip = ctx->local_ip4;
	key.local_port = bpf_ntohl(ctx->remote_port);
	key.remote_port = ctx->local_port;
	add(CROSSED, 1);
	add(BYTES, ctx->size);
	return bpf_msg_redirect_hash(ctx, &socks, &key, BPF_F_INGRESS);
}

char _license[] SEC("license") = "GPL";
