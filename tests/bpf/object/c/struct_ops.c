/* A table of callbacks of the kernel: a congestion control that does next to nothing. */
#include "common.h"

struct sock { int unused; } __attribute__((preserve_access_index));

struct tcp_congestion_ops___bw {
	__u32 (*ssthresh)(struct sock *sk);
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 flags;
	int bw_is_not_in_any_kernel;
	char name[16];
};

SEC("struct_ops/ssthresh") __u32 ssthresh(__u64 *ctx) { return 2; }
SEC("struct_ops/undo") __u32 undo(__u64 *ctx) { return 10; }
SEC("struct_ops/avoid") void avoid(__u64 *ctx) { }

SEC(".struct_ops.link") struct tcp_congestion_ops___bw bw_linked = {
	.ssthresh = (void *)ssthresh, .undo_cwnd = (void *)undo,
	.cong_avoid = (void *)avoid, .name = "bw_linked",
};
SEC(".struct_ops") struct tcp_congestion_ops___bw bw_plain = {
	.ssthresh = (void *)ssthresh, .undo_cwnd = (void *)undo,
	.cong_avoid = (void *)avoid, .name = "bw_plain",
};
