// SPDX-License-Identifier: Apache-2.0
/* The C twin of socket_dispatch.py. */
#include "corpus.bpf.h"

#define LISTENERS 16

/* clang merges loads of two branches into one at a computed offset, which the verifier
 * refuses on a context. A barrier at the end of one branch keeps the branches apart. */
#define barrier() asm volatile("" ::: "memory")

enum { ASSIGNED, REFUSED, MISSED, COUNTERS };

struct prefix {
	__u32 length;
	__u32 family;
	__u32 address[4];
};

struct range {
	__u16 first;
	__u16 last;
	__u32 listener;
};

struct rule {
	struct range ranges[4];
	__u32 fallback;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct rule);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} refused SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, LISTENERS);
	__type(key, __u32);
	__type(value, __u64);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *seen = bpf_map_lookup_elem(&counters, &which);

	if (seen)
		*seen += 1;
}

static __always_inline void prefix_of(struct bpf_sk_lookup *ctx, struct prefix *key)
{
	key->length = 160;
	key->family = ctx->family;
	if (ctx->family == AF_INET6) {
		key->address[0] = ctx->remote_ip6[0];
		key->address[1] = ctx->remote_ip6[1];
		key->address[2] = ctx->remote_ip6[2];
		key->address[3] = ctx->remote_ip6[3];
		barrier();
	} else {
		key->address[0] = ctx->remote_ip4;
	}
}

static __always_inline __u32 listener_of(struct rule *rule, __u32 port)
{
	int i;

	for (i = 0; i < 4; i++)
		if (rule->ranges[i].first <= port && port <= rule->ranges[i].last)
			return rule->ranges[i].listener;
	return rule->fallback;
}

SEC("sk_lookup")
int dispatch(struct bpf_sk_lookup *ctx)
{
	__u32 family = ctx->family, listener;
	struct prefix key = {};
	struct bpf_sock *sk;
	struct rule *rule;
	long error;

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	prefix_of(ctx, &key);
	if (bpf_map_lookup_elem(&refused, &key)) {
		count(REFUSED);
		return SK_DROP;
	}
	rule = bpf_map_lookup_elem(&rules, &family);
	if (!rule)
		return SK_PASS;
	listener = listener_of(rule, ctx->local_port);
	if (listener >= LISTENERS)
		return SK_PASS;
	sk = bpf_map_lookup_elem(&listeners, &listener);
	if (!sk) {
		count(MISSED);
		return SK_PASS;
	}
	error = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	if (error) {
		count(MISSED);
		return SK_DROP;
	}
	count(ASSIGNED);
	return SK_PASS;
}

char _license[] SEC("license") = "GPL";
