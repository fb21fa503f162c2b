#include "peer.h"

SEC("sk_msg") int peer_redirect(struct sk_msg_md *ctx)
{
    struct pair pair = {};
    pair.dip[3] = ctx->local_ip4;
    pair.sip[3] = ctx->remote_ip4;
    pair.dport = __builtin_bswap16(ctx->local_port);
    pair.sport = ctx->remote_port >> 16;
    redirect(ctx, &sock_pair_map, &pair, BPF_F_INGRESS);
    return 1;
}
