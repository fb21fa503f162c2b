// SPDX-License-Identifier: Apache-2.0
/* The C twin of socket_policy.py. */
#include "corpus.bpf.h"

#include <stdbool.h>

#define ALLOW 1
#define DENY 0
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define SOL_SOCKET 1
#define SOL_TCP 6
#define SO_SNDBUF 7
#define SO_RCVBUF 8
#define SO_MARK 36
#define SO_RCVBUFFORCE 33
#define TCP_CONGESTION 13
#define TCP_MD5SIG 14
#define ROOT 0

enum { CREATE, BIND, OPTION, KINDS };

struct grant {
	__u32 uid;
	__u16 port;
	__u8 protocol;
	__u8 padding;
};

struct limits {
	__u16 first_port;
	__u16 last_port;
	bool allow_raw;
	bool allow_mark;
	__u32 largest_buffer;
} limits = { .first_port = 1024, .last_port = 32767, .largest_buffer = 1 << 20 };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct grant);
	__type(value, __u32);
} grants SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KINDS);
	__type(key, __u32);
	__type(value, __u64);
} denied SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *seen = bpf_map_lookup_elem(&denied, &which);

	if (seen)
		*seen += 1;
}

SEC("cgroup/sock_create")
int may_create(struct bpf_sock *ctx)
{
	if (ctx->family != AF_INET && ctx->family != AF_INET6)
		return ALLOW;
	if ((ctx->type == SOCK_STREAM || ctx->type == SOCK_DGRAM) &&
	    (ctx->protocol == 0 || ctx->protocol == IPPROTO_TCP ||
	     ctx->protocol == IPPROTO_UDP))
		return ALLOW;
	if (ctx->type == SOCK_RAW && limits.allow_raw)
		return ALLOW;
	count(CREATE);
	return DENY;
}

SEC("cgroup/bind4")
int may_bind(struct bpf_sock_addr *ctx)
{
	__u16 port = bpf_ntohs(ctx->user_port);
	struct grant grant = {};
	__u32 uid;

	if (port == 0 || (port >= limits.first_port && port <= limits.last_port))
		return ALLOW;
	uid = bpf_get_current_uid_gid();
	if (uid == ROOT)
		return ALLOW;
	grant.uid = uid;
	grant.port = port;
	grant.protocol = ctx->protocol;
	if (bpf_map_lookup_elem(&grants, &grant))
		return ALLOW;
	count(BIND);
	return DENY;
}

SEC("cgroup/setsockopt")
int may_set(struct bpf_sockopt *ctx)
{
	void *end = ctx->optval_end;
	__u32 *size = ctx->optval;
	bool refuse = false;

	if (ctx->level == SOL_SOCKET) {
		switch (ctx->optname) {
		case SO_MARK:
			refuse = !limits.allow_mark;
			break;
		case SO_SNDBUF:
		case SO_RCVBUF:
		case SO_RCVBUFFORCE:
			refuse = (void *)(size + 1) <= end && *size > limits.largest_buffer;
			break;
		}
	} else if (ctx->level == SOL_TCP) {
		refuse = ctx->optname == TCP_CONGESTION || ctx->optname == TCP_MD5SIG;
	}
	if (refuse) {
		count(OPTION);
		return DENY;
	}
	return ALLOW;
}

char _license[] SEC("license") = "GPL";
