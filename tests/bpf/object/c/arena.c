/* Memory that programs and user space share, and variables in it. */
#include "common.h"

#define __arena __attribute__((address_space(1)))

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, 1 << 10); /* BPF_F_MMAPABLE */
	__uint(max_entries, 16); /* pages */
} arena SEC(".maps");

int __arena counter SEC(".addr_space.1") = 5;
__u64 __arena big SEC(".addr_space.1");

SEC("syscall") int count(void *ctx)
{
	void *map = &arena; /* the program has to name it */

	__asm__ volatile("" ::"r"(map));
	counter += 2;
	big = 1ULL << 40;
	return counter;
}
