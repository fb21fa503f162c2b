/* A function of a module of the kernel: nf_conntrack's. */
#include "common.h"

struct xdp_md;
struct nf_conn;
struct bpf_sock_tuple;
struct bpf_ct_opts {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto;
	__u8 dir;
	__u8 reserved[2];
};
extern struct nf_conn *bpf_xdp_ct_lookup(struct xdp_md *ctx, struct bpf_sock_tuple *tuple,
					 __u32 tuple_len, struct bpf_ct_opts *opts,
					 __u32 opts_len) __ksym;
extern void bpf_ct_release(struct nf_conn *) __ksym;

SEC("xdp") int look(struct xdp_md *ctx)
{
	struct bpf_ct_opts opts = { .netns_id = -1, .l4proto = 6 };
	char tuple[12] = {};
	struct nf_conn *found = bpf_xdp_ct_lookup(ctx, (void *)tuple, sizeof(tuple), &opts,
						  sizeof(opts));

	if (found)
		bpf_ct_release(found);
	return opts.error == -2 ? 42 : 7; /* ENOENT: nobody has this connection */
}
