/* Functions: static, global, hidden, weak, recursive in name only, and callbacks. */
#include "common.h"

__u64 seen;

static __noinline int twice(int x) { return x * 2 + (int)seen; }
__noinline int plus_one(int x) { return twice(x) + 1; }
__attribute__((visibility("hidden"))) __noinline int hidden_function(int x) { return x - 3; }
__attribute__((weak)) __noinline int weak_function(int x) { return x ^ 1; }

static long add(__u32 index, void *ctx)
{
	seen += index;
	return 0;
}

static __noinline long apply(__u32 count) { return bpf_loop(count, add, 0, 0); }

SEC("syscall") int first(void *ctx) { return plus_one(20) + hidden_function(3); /* 41 */ }

SEC("syscall") int second(void *ctx)
{
	seen = 0;
	apply(5); /* 0+1+2+3+4 */
	return seen + weak_function(4); /* 10 + 5 */
}

SEC("syscall") int third(void *ctx) { return second(ctx) + 1; /* 16 */ }
