/* SPDX-License-Identifier: Apache-2.0 */
/* The C twin of {state,addresses,aliases}.py: the same structs, maps
 * and counters, written as a C author writes them. `beewire bench codesize` compares the
 * two. */
#ifndef BEEWIRE_STATE_H
#define BEEWIRE_STATE_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/in6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ALLOW 1
#define DENY 0
#define AF_INET 2
#define AF_INET6 10
#define MAPPED bpf_htonl(0xffff)
#define NET8 bpf_htonl(0xff000000)
#define LOOPBACK_NET bpf_htonl(0x7f000000)
#define NET16 bpf_htonl(0xffff0000)
#define FIRST_ALIAS 0x7f410000
#define ALIAS_NET bpf_htonl(FIRST_ALIAS)

/* clang merges accesses of two branches, or of neighbours, into ones that the verifier
 * refuses on a context. A barrier at the end of one branch keeps the branches apart;
 * WRITE_ONCE keeps a store as it stands. */
#define barrier() asm volatile("" ::: "memory")
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))

enum { V4_LISTENER, V6_LISTENER };

struct address {
	__u32 words[4];
};

struct endpoint {
	struct address address;
	__u32 port;
};

struct dialled {
	struct endpoint wanted;
	__u32 target;
	__u32 target_port;
};

struct handshake {
	__u64 netns;
	struct address source;
	__u32 target;
	__u16 source_port;
	__u16 target_port;
};

struct settings {
	__u64 proxy_cgroup;
	__u32 proxy_level;
	__u32 outbound_port;
	__u32 inbound_port;
	__u32 tunnel_port;
	__u32 source4;
	__u32 unused;
	struct address source6;
};

enum decision {
	OUTBOUND_CAPTURED,
	OUTBOUND_PROXY,
	OUTBOUND_LOCAL,
	OUTBOUND_SELF_CALL,
	OUTBOUND_REFUSED,
	INBOUND_CAPTURED,
	INBOUND_LOCAL,
	INBOUND_EXCLUDED,
	INBOUND_REFUSED,
	HANDED_OVER,
	HANDOVER_MISSED,
	HANDOVER_ABANDONED,
};

struct settings settings;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct address);
	__type(value, __u32);
} local_addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} excluded_inbound_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint);
	__type(value, __u32);
} aliases SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct endpoint);
} originals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct dialled);
} dialled SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct endpoint);
} arrived SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct handshake);
	__type(value, struct endpoint);
} handshakes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} decisions SEC(".maps");

static __always_inline void count(__u32 decision)
{
	__u64 *n = bpf_map_lookup_elem(&decisions, &decision);

	if (n)
		*n += 1;
}

static __always_inline int is_listener(__u32 port)
{
	return port == settings.outbound_port || port == settings.inbound_port;
}

static __always_inline int is_alias(__u32 ip)
{
	return (ip & NET16) == ALIAS_NET;
}

char _license[] SEC("license") = "Dual BSD/GPL";

#endif
