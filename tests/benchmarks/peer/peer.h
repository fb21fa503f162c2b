/* Stands in for merbridge: programs of its sections, on maps of its names and sizes. */
#include <linux/bpf.h>
#include <linux/in.h>

#define SEC(name) __attribute__((section(name), used))
#define MAP(name, type, key, value, entries) \
    struct legacy_map SEC("maps") name = {type, key, value, entries}
#define HELPER(name) (void *)BPF_FUNC_##name

struct legacy_map {
    __u32 type, key_size, value_size, max_entries, flags, id, pinning;
};
struct origin {
    __u32 ip[4], pid;
    __u16 port, flags;
};
struct pair {
    __u32 sip[4], dip[4];
    __u16 sport, dport;
};

MAP(cookie_original_dst, BPF_MAP_TYPE_LRU_HASH, 8, sizeof(struct origin), 65535);
MAP(pair_original_dst, BPF_MAP_TYPE_LRU_HASH, sizeof(struct pair), sizeof(struct origin),
    65535);
MAP(sock_pair_map, BPF_MAP_TYPE_SOCKHASH, sizeof(struct pair), 4, 65535);
MAP(local_pod_ips, BPF_MAP_TYPE_HASH, 16, 244, 1024);
MAP(mark_pod_ips_map, BPF_MAP_TYPE_HASH, 4, 16, 65535);

static void *(*lookup)(void *, const void *) = HELPER(map_lookup_elem);
static long (*update)(void *, const void *, const void *, __u64) = HELPER(map_update_elem);
static __u64 (*cookie_of)(void *) = HELPER(get_socket_cookie);
static __u64 (*uid_gid)(void) = HELPER(get_current_uid_gid);
static struct bpf_sock *(*listener)(void *, struct bpf_sock_tuple *, __u32, __u64, __u64) =
    HELPER(sk_lookup_tcp);
static long (*release)(struct bpf_sock *) = HELPER(sk_release);
static long (*bind_to)(void *, void *, int) = HELPER(bind);
static long (*join)(void *, void *, void *, __u64) = HELPER(sock_hash_update);
static long (*redirect)(void *, void *, void *, __u64) = HELPER(msg_redirect_hash);

char license_of_all[] SEC("license") = "GPL";
