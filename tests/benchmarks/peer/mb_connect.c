#include "peer.h"

SEC("cgroup/connect4") int peer_connect(struct bpf_sock_addr *ctx)
{
    struct bpf_sock_tuple tuple = {.ipv4.dport = __builtin_bswap16(39807)};
    struct bpf_sock *marked = listener(ctx, &tuple, sizeof(tuple.ipv4), -1, 0);
    if (!marked)
        return 1;
    __u32 mark = marked->mark;
    release(marked);
    __u32 *own = lookup(&mark_pod_ips_map, &mark);
    if (!own || ctx->protocol != IPPROTO_TCP)
        return 1;
    struct origin origin = {.ip[3] = ctx->user_ip4, .port = ctx->user_port, .flags = 1};
    struct sockaddr_in source = {.sin_family = 2, .sin_addr = {own[3]}};
    __u32 target[4] = {0, 0, 0, ctx->user_ip4};
    __u64 cookie = cookie_of(ctx);
    if ((uid_gid() & 0xffffffff) != 1337) {
        if ((ctx->user_ip4 & 0xff) == 127)
            return 1;
        bind_to(ctx, &source, sizeof(source));
        ctx->user_ip4 = 127 + (1 << 24);
        ctx->user_port = __builtin_bswap16(15001);
    } else if (!lookup(&local_pod_ips, target)) {
        return 1;
    } else if (own[3] != ctx->user_ip4) {
        ctx->user_port = __builtin_bswap16(15006);
    }
    update(&cookie_original_dst, &cookie, &origin, 0);
    return 1;
}
