// SPDX-License-Identifier: Apache-2.0
/* The C twin of tcp_lifetimes.py. */
#include <linux/types.h>

#include <bpf/bpf_endian.h>

#include "kernel.bpf.h"

#define AF_INET 2
#define AF_INET6 10
#define MICROSECOND 1000
#define SLOTS 32

enum { TCP_SYN_SENT = 2, TCP_SYN_RECV = 3, TCP_CLOSE = 7 };

struct start {
	__u64 at_ns;
	__u32 pid;
	char comm[TASK_COMM_LEN];
};

struct lifetime {
	__u64 lasted_us;
	__u32 pid;
	__u16 family;
	__u16 sport;
	__u16 dport;
	__u16 last_state;
	char comm[TASK_COMM_LEN];
};

struct port {
	__u16 family;
	__u16 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct start);
} starts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} lifetimes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} histogram SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct port);
	__type(value, __u64);
} by_port SEC(".maps");

static __always_inline __u32 log2(__u64 value)
{
	__u32 position = 0;
	int i;

	for (i = 0; i < SLOTS - 1; i++) {
		value >>= 1;
		if (value == 0)
			break;
		position += 1;
	}
	return position;
}

static __always_inline void count_slot(__u32 slot)
{
	__u64 one = 1, *seen = bpf_map_lookup_elem(&histogram, &slot);

	if (seen) {
		*seen += 1;
	} else if (bpf_map_update_elem(&histogram, &slot, &one, BPF_NOEXIST)) {
		seen = bpf_map_lookup_elem(&histogram, &slot);
		if (seen)
			*seen += 1;
	}
}

static __always_inline void count_port(struct port *port)
{
	__u64 one = 1, *seen = bpf_map_lookup_elem(&by_port, port);

	if (seen) {
		__sync_fetch_and_add(seen, 1);
	} else if (bpf_map_update_elem(&by_port, port, &one, BPF_NOEXIST)) {
		seen = bpf_map_lookup_elem(&by_port, port);
		if (seen)
			__sync_fetch_and_add(seen, 1);
	}
}

SEC("raw_tracepoint/inet_sock_set_state")
int on_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *connection = (void *)ctx->args[0];
	__u64 address = ctx->args[0], lasted;
	__u32 old = ctx->args[1], new = ctx->args[2];
	struct start *start, first = {};
	struct lifetime *e;
	struct port port;
	__u16 family;

	family = BPF_CORE_READ(connection, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	if (new == TCP_SYN_SENT || new == TCP_SYN_RECV) {
		first.at_ns = bpf_ktime_get_ns();
		first.pid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(first.comm, sizeof(first.comm));
		bpf_map_update_elem(&starts, &address, &first, BPF_ANY);
		return 0;
	}
	if (new != TCP_CLOSE)
		return 0;
	start = bpf_map_lookup_elem(&starts, &address);
	if (!start)
		return 0;
	lasted = (bpf_ktime_get_ns() - start->at_ns) / MICROSECOND;
	port.family = family;
	port.port = bpf_ntohs(BPF_CORE_READ(connection, __sk_common.skc_dport));
	count_slot(log2(lasted));
	count_port(&port);
	e = bpf_ringbuf_reserve(&lifetimes, sizeof(*e), 0);
	if (e) {
		e->lasted_us = lasted;
		e->pid = start->pid;
		e->family = family;
		e->sport = BPF_CORE_READ(connection, __sk_common.skc_num);
		e->dport = port.port;
		e->last_state = old;
		__builtin_memcpy(e->comm, start->comm, sizeof(e->comm));
		bpf_ringbuf_submit(e, 0);
	}
	bpf_map_delete_elem(&starts, &address);
	return 0;
}

char _license[] SEC("license") = "GPL";
