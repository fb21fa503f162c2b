// SPDX-License-Identifier: Apache-2.0
/* The C twin of sock_metrics.py. */
#include "corpus.bpf.h"

#define MAPPED bpf_htonl(0xffff)

/* clang merges loads of two branches into one at a computed offset, which the verifier
 * refuses on a context. A barrier at the end of one branch keeps the branches apart. */
#define barrier() asm volatile("" ::: "memory")

enum counter { OPENED, ACCEPTED, CLOSED, RETRANSMITTED, LOST, COUNTERS };

struct address {
	__u32 words[4];
};

struct state {
	__u64 opened_ns;
	__u32 retransmits;
	__u32 timeouts;
	__u32 is_server;
	__u32 worst_srtt_us;
};

struct metrics {
	__u64 opened_ns;
	__u64 closed_ns;
	__u64 bytes_received;
	__u64 bytes_acked;
	struct address local;
	struct address remote;
	__u16 local_port;
	__u16 remote_port;
	__u32 is_server;
	__u32 last_state;
	__u32 snd_cwnd;
	__u32 snd_ssthresh;
	__u32 srtt_us;
	__u32 worst_srtt_us;
	__u32 rtt_min;
	__u32 mss_cache;
	__u32 rate_delivered;
	__u32 rate_interval_us;
	__u32 packets_out;
	__u32 retrans_out;
	__u32 total_retrans;
	__u32 segs_in;
	__u32 segs_out;
	__u32 data_segs_in;
	__u32 data_segs_out;
	__u32 lost_out;
	__u32 sacked_out;
	__u32 retransmits;
	__u32 timeouts;
};

struct destination {
	struct address address;
	__u32 port;
};

struct quality {
	__u64 connections;
	__u64 bytes_received;
	__u64 bytes_acked;
	__u64 retransmits;
	__u64 srtt_us;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct state);
} states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} metrics SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct destination);
	__type(value, struct quality);
} quality SEC(".maps");

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

static __always_inline int is_ipv6(struct bpf_sock_ops *ctx)
{
	return ctx->family == AF_INET6 && ctx->remote_ip6[2] != MAPPED;
}

static __always_inline void opened(struct bpf_sock_ops *ctx, __u32 server)
{
	struct bpf_sock *sk = ctx->sk;
	struct state *state;

	if (!sk)
		return;
	state = bpf_sk_storage_get(&states, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state)
		return;
	state->opened_ns = bpf_ktime_get_ns();
	state->is_server = server;
	bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG |
				  BPF_SOCK_OPS_RETRANS_CB_FLAG | BPF_SOCK_OPS_RTO_CB_FLAG);
	count(server ? ACCEPTED : OPENED);
}

static __always_inline void retransmitted(struct bpf_sock_ops *ctx, int timeout)
{
	struct bpf_sock *sk = ctx->sk;
	struct state *state;

	if (!sk)
		return;
	state = bpf_sk_storage_get(&states, sk, 0, 0);
	if (!state)
		return;
	if (timeout)
		__sync_fetch_and_add(&state->timeouts, 1);
	else
		__sync_fetch_and_add(&state->retransmits, 1);
	if (ctx->srtt_us > state->worst_srtt_us)
		state->worst_srtt_us = ctx->srtt_us;
	count(RETRANSMITTED);
}

static __always_inline void export(struct bpf_sock_ops *ctx, struct state *state)
{
	struct metrics *m = bpf_ringbuf_reserve(&metrics, sizeof(*m), 0);

	if (!m) {
		count(LOST);
		return;
	}
	m->opened_ns = state->opened_ns;
	m->closed_ns = bpf_ktime_get_ns();
	m->is_server = state->is_server;
	m->retransmits = state->retransmits;
	m->timeouts = state->timeouts;
	m->worst_srtt_us = state->worst_srtt_us;
	if (is_ipv6(ctx)) {
		m->local.words[0] = ctx->local_ip6[0];
		m->local.words[1] = ctx->local_ip6[1];
		m->local.words[2] = ctx->local_ip6[2];
		m->local.words[3] = ctx->local_ip6[3];
		m->remote.words[0] = ctx->remote_ip6[0];
		m->remote.words[1] = ctx->remote_ip6[1];
		m->remote.words[2] = ctx->remote_ip6[2];
		m->remote.words[3] = ctx->remote_ip6[3];
		barrier();
	} else {
		m->local.words[0] = 0;
		m->local.words[1] = 0;
		m->local.words[2] = MAPPED;
		m->local.words[3] = ctx->local_ip4;
		m->remote.words[0] = 0;
		m->remote.words[1] = 0;
		m->remote.words[2] = MAPPED;
		m->remote.words[3] = ctx->remote_ip4;
	}
	m->local_port = ctx->local_port;
	m->remote_port = bpf_ntohl(ctx->remote_port);
	m->last_state = ctx->args[0];
	m->bytes_received = ctx->bytes_received;
	m->bytes_acked = ctx->bytes_acked;
	m->snd_cwnd = ctx->snd_cwnd;
	m->snd_ssthresh = ctx->snd_ssthresh;
	m->srtt_us = ctx->srtt_us;
	m->rtt_min = ctx->rtt_min;
	m->mss_cache = ctx->mss_cache;
	m->rate_delivered = ctx->rate_delivered;
	m->rate_interval_us = ctx->rate_interval_us;
	m->packets_out = ctx->packets_out;
	m->retrans_out = ctx->retrans_out;
	m->total_retrans = ctx->total_retrans;
	m->segs_in = ctx->segs_in;
	m->segs_out = ctx->segs_out;
	m->data_segs_in = ctx->data_segs_in;
	m->data_segs_out = ctx->data_segs_out;
	m->lost_out = ctx->lost_out;
	m->sacked_out = ctx->sacked_out;
	bpf_ringbuf_submit(m, 0);
}

static __always_inline void summarize(struct bpf_sock_ops *ctx)
{
	struct destination key = { .port = bpf_ntohl(ctx->remote_port) };
	struct quality *q, first = {};

	if (is_ipv6(ctx)) {
		key.address.words[0] = ctx->remote_ip6[0];
		key.address.words[1] = ctx->remote_ip6[1];
		key.address.words[2] = ctx->remote_ip6[2];
		key.address.words[3] = ctx->remote_ip6[3];
		barrier();
	} else {
		key.address.words[2] = MAPPED;
		key.address.words[3] = ctx->remote_ip4;
	}
	q = bpf_map_lookup_elem(&quality, &key);
	if (!q) {
		first.connections = 1;
		first.bytes_received = ctx->bytes_received;
		first.bytes_acked = ctx->bytes_acked;
		first.retransmits = ctx->total_retrans;
		first.srtt_us = ctx->srtt_us;
		bpf_map_update_elem(&quality, &key, &first, BPF_ANY);
		return;
	}
	__sync_fetch_and_add(&q->connections, 1);
	__sync_fetch_and_add(&q->bytes_received, ctx->bytes_received);
	__sync_fetch_and_add(&q->bytes_acked, ctx->bytes_acked);
	__sync_fetch_and_add(&q->retransmits, ctx->total_retrans);
	q->srtt_us = q->srtt_us - (q->srtt_us >> 3) + (ctx->srtt_us >> 3);
}

static __always_inline void changed(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct state *state;

	if (ctx->args[1] != BPF_TCP_CLOSE)
		return;
	if (!sk)
		return;
	state = bpf_sk_storage_get(&states, sk, 0, 0);
	if (!state)
		return;
	export(ctx, state);
	summarize(ctx);
	count(CLOSED);
}

SEC("sockops")
int sock_metrics(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		opened(ctx, 0);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		opened(ctx, 1);
		break;
	case BPF_SOCK_OPS_RETRANS_CB:
		retransmitted(ctx, 0);
		break;
	case BPF_SOCK_OPS_RTO_CB:
		retransmitted(ctx, 1);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		changed(ctx);
		break;
	}
	return 1;
}

char _license[] SEC("license") = "GPL";
