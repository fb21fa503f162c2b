/* Maps of before BTF, in the section "maps". */
#include "common.h"

struct old_map_def {
	__u32 type, key_size, value_size, max_entries, map_flags;
};

struct old_map_def SEC("maps") first = {
	.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 2,
};
struct old_map_def SEC("maps") second = {
	.type = BPF_MAP_TYPE_HASH, .key_size = 4, .value_size = 4, .max_entries = 8,
	.map_flags = 1,
};

SEC("syscall") int count(void *ctx)
{
	__u32 key = 1, four = 4;
	__u64 *value = bpf_map_lookup_elem(&first, &key);

	if (!value)
		return -1;
	*value += 7;
	bpf_map_update_elem(&second, &four, &four, 0);
	return *value;
}
