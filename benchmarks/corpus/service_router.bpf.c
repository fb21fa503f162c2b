// SPDX-License-Identifier: Apache-2.0
/* The C twin of service_router.py. */
#include "corpus.bpf.h"

#define MAPPED bpf_htonl(0xffff)
#define ALLOW 1
#define DENY 0
#define AFFINITY 1
#define DRAINED 2

enum { ROUTED, REFUSED, STUCK, COUNTERS };

/* clang merges neighbouring stores into one, which the verifier refuses on a context;
 * WRITE_ONCE keeps a store as it stands. */
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))

struct address {
	__u32 words[4];
};

struct service_key {
	struct address address;
	__u16 port;
	__u8 protocol;
	__u8 scope;
};

struct service {
	__u32 first;
	__u32 count;
	__u32 flags;
	__u32 affinity_id;
};

struct backend {
	struct address address;
	__u16 port;
	__u16 flags;
};

struct affinity_key {
	__u64 client;
	__u32 service;
	__u32 padding;
};

struct origin {
	struct address address;
	__u32 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct service_key);
	__type(value, struct service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct affinity_key);
	__type(value, __u32);
} affinities SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct origin);
} origins SEC(".maps");

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

static __always_inline struct backend *live_backend(__u32 index)
{
	struct backend *backend = bpf_map_lookup_elem(&backends, &index);

	if (!backend || backend->flags & DRAINED)
		return NULL;
	return backend;
}

static __always_inline struct backend *choose(struct service *service, __u64 client)
{
	struct affinity_key key = { .client = client, .service = service->affinity_id };
	struct backend *backend;
	__u32 *before, index;

	if (service->flags & AFFINITY) {
		before = bpf_map_lookup_elem(&affinities, &key);
		if (before) {
			backend = live_backend(*before);
			if (backend) {
				count(STUCK);
				return backend;
			}
		}
	}
	index = service->first + bpf_get_prandom_u32() % service->count;
	backend = live_backend(index);
	if (!backend)
		return NULL;
	if (service->flags & AFFINITY)
		bpf_map_update_elem(&affinities, &key, &index, BPF_ANY);
	return backend;
}

static __always_inline struct service *find_service(struct service_key *key)
{
	struct service *exact = bpf_map_lookup_elem(&services, key);

	if (exact)
		return exact;
	key->port = 0;
	return bpf_map_lookup_elem(&services, key);
}

static __always_inline void remember(__u64 cookie, struct address *address, __u32 port)
{
	struct origin origin = { .address = *address, .port = port };

	bpf_map_update_elem(&origins, &cookie, &origin, BPF_ANY);
}

SEC("cgroup/connect4")
int route4(struct bpf_sock_addr *ctx)
{
	struct service_key key = {};
	struct service *service;
	struct backend *backend;
	__u64 cookie;

	key.port = bpf_ntohs(ctx->user_port);
	key.protocol = ctx->protocol;
	key.address.words[2] = MAPPED;
	key.address.words[3] = ctx->user_ip4;
	service = find_service(&key);
	if (!service)
		return ALLOW;
	cookie = bpf_get_socket_cookie(ctx);
	if (service->count == 0) {
		count(REFUSED);
		return DENY;
	}
	backend = choose(service, cookie);
	if (!backend) {
		count(REFUSED);
		return DENY;
	}
	remember(cookie, &key.address, ctx->user_port);
	ctx->user_ip4 = backend->address.words[3];
	if (backend->port)
		ctx->user_port = bpf_htons(backend->port);
	count(ROUTED);
	return ALLOW;
}

SEC("cgroup/connect6")
int route6(struct bpf_sock_addr *ctx)
{
	struct service_key key = {};
	struct service *service;
	struct backend *backend;
	__u64 cookie;

	key.port = bpf_ntohs(ctx->user_port);
	key.protocol = ctx->protocol;
	key.address.words[0] = ctx->user_ip6[0];
	key.address.words[1] = ctx->user_ip6[1];
	key.address.words[2] = ctx->user_ip6[2];
	key.address.words[3] = ctx->user_ip6[3];
	service = find_service(&key);
	if (!service)
		return ALLOW;
	cookie = bpf_get_socket_cookie(ctx);
	if (service->count == 0) {
		count(REFUSED);
		return DENY;
	}
	backend = choose(service, cookie);
	if (!backend) {
		count(REFUSED);
		return DENY;
	}
	remember(cookie, &key.address, ctx->user_port);
	WRITE_ONCE(ctx->user_ip6[0], backend->address.words[0]);
	WRITE_ONCE(ctx->user_ip6[1], backend->address.words[1]);
	WRITE_ONCE(ctx->user_ip6[2], backend->address.words[2]);
	WRITE_ONCE(ctx->user_ip6[3], backend->address.words[3]);
	if (backend->port)
		ctx->user_port = bpf_htons(backend->port);
	count(ROUTED);
	return ALLOW;
}

SEC("cgroup/getpeername4")
int original4(struct bpf_sock_addr *ctx)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct origin *origin = bpf_map_lookup_elem(&origins, &cookie);

	if (origin) {
		ctx->user_ip4 = origin->address.words[3];
		ctx->user_port = origin->port;
	}
	return ALLOW;
}

char _license[] SEC("license") = "GPL";
