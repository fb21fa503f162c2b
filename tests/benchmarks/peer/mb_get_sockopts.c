#include "peer.h"

SEC("cgroup/getsockopt") int peer_getsockopt(struct bpf_sockopt *ctx)
{
    struct sockaddr_in *answer = ctx->optval;
    struct bpf_sock *sk = ctx->sk;
    struct pair pair = {};
    if (ctx->optlen > 4096)
        ctx->optlen = 4096;
    if (ctx->optname != 80 || !sk)
        return 1;
    pair.dip[3] = sk->src_ip4;
    pair.sip[3] = sk->dst_ip4;
    pair.dport = __builtin_bswap16(sk->src_port);
    pair.sport = sk->dst_port;
    struct origin *origin = lookup(&pair_original_dst, &pair);
    if (!origin || (void *)(answer + 1) > ctx->optval_end)
        return 1;
    *answer = (struct sockaddr_in){
        .sin_family = 2, .sin_port = origin->port, .sin_addr = {origin->ip[3]}};
    /* Apart: one store to both is none to a context. */
    *(volatile __s32 *)&ctx->optlen = sizeof(*answer);
    *(volatile __s32 *)&ctx->retval = 0;
    return 1;
}
