// SPDX-License-Identifier: Apache-2.0
/* The C twin of median.py. */
#include "corpus.bpf.h"

#define QUEUES 16
#define WINDOW 9

struct window {
	__u64 gaps[WINDOW];
	__u32 next;
	__u32 filled;
	__u64 last_ns;
	__u64 median_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, struct window);
} windows SEC(".maps");

static __always_inline __u64 min(__u64 a, __u64 b)
{
	return a < b ? a : b;
}

static __always_inline __u64 max(__u64 a, __u64 b)
{
	return a > b ? a : b;
}

#define sort2(x, y)                                                            \
	do {                                                                   \
		__u64 low = min(x, y), high = max(x, y);                       \
		x = low;                                                       \
		y = high;                                                      \
	} while (0)

static __always_inline __u64 median(__u64 *v)
{
	__u64 a = v[0], b = v[1], c = v[2], d = v[3], e = v[4];
	__u64 f = v[5], g = v[6], h = v[7], i = v[8];

	sort2(b, c); sort2(e, f); sort2(h, i);
	sort2(a, b); sort2(d, e); sort2(g, h);
	sort2(b, c); sort2(e, f); sort2(h, i);
	d = max(a, d);
	f = min(f, i);
	sort2(e, h);
	g = max(d, g);
	e = max(b, e);
	c = min(c, f);
	e = min(e, h);
	sort2(e, c);
	e = max(g, e);
	return min(e, c);
}

SEC("xdp")
int arrival_median(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__u32 queue = ctx->rx_queue_index % QUEUES;
	struct window *w;
	__u32 slot;
	__u64 now;

	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	w = bpf_map_lookup_elem(&windows, &queue);
	if (!w)
		return XDP_PASS;
	now = bpf_ktime_get_ns();
	slot = w->next;
	if (slot < WINDOW)
		w->gaps[slot] = now - w->last_ns;
	w->next = slot < WINDOW - 1 ? slot + 1 : 0;
	w->last_ns = now;
	if (w->filled < WINDOW) {
		w->filled += 1;
		return XDP_PASS;
	}
	w->median_ns = median(w->gaps);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
