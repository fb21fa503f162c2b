/* Maps that hold something from the start, and all that can be said of a map. */
#include "common.h"

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, int);
	__type(value, int);
	__uint(max_entries, 2);
} one SEC(".maps"), two SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, int);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { [1] = &two, [3] = &one } };

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, int);
	__type(value, int);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__type(key, int);
		__type(value, int);
		__uint(max_entries, 2);
	});
} by_hash SEC(".maps") = { .values = { [2] = (void *)&one } };

SEC("socket") int target(void *ctx) { return 42; }

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 3);
	__uint(key_size, sizeof(int));
	__array(values, int(void *));
} jumps SEC(".maps") = { .values = { [2] = (void *)&target } };

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__type(value, __u32);
	__uint(max_entries, 100);
	__uint(map_extra, 3);
} bloom SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(key_size, 4);
	__uint(value_size, 12);
	__uint(max_entries, 9);
	__uint(map_flags, 1 | 4); /* BPF_F_NO_PREALLOC, BPF_F_NUMA_NODE */
	__uint(numa_node, 0);
} plain SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 5000); /* rounded up, as libbpf does */
} ring SEC(".maps");

SEC("socket") int look(void *ctx)
{
	int key = 1, zero = 0;
	void *inner = bpf_map_lookup_elem(&outer, &key);
	int *value = inner ? bpf_map_lookup_elem(inner, &zero) : 0;

	return value ? *value + 1 : -1;
}

SEC("socket") int look_by_hash(void *ctx)
{
	int key = 2, zero = 0;
	void *inner = bpf_map_lookup_elem(&by_hash, &key);
	int *value = inner ? bpf_map_lookup_elem(inner, &zero) : 0;

	return value ? *value + 2 : -1;
}

SEC("socket") int jump(void *ctx)
{
	bpf_tail_call(ctx, &jumps, 2);
	return 1;
}
