#include "peer.h"

SEC("sockops") int peer_sockops(struct bpf_sock_ops *ctx)
{
    if (ctx->family != 2 || (ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB &&
                             ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB))
        return 0;
    struct pair pair = {};
    pair.sip[3] = ctx->local_ip4;
    pair.dip[3] = ctx->remote_ip4;
    pair.sport = __builtin_bswap16(ctx->local_port);
    pair.dport = ctx->remote_port >> 16;
    __u64 cookie = cookie_of(ctx);
    struct origin *origin = lookup(&cookie_original_dst, &cookie);
    if (origin) {
        struct origin copy = *origin;
        update(&pair_original_dst, &pair, &copy, 0);
    }
    if (origin || ctx->local_port == 15001 || ctx->local_port == 15006 ||
        ctx->remote_ip4 == 127 + (6 << 24))
        join(ctx, &sock_pair_map, &pair, BPF_NOEXIST);
    return 0;
}
