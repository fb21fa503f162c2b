/* Variables: public and static, of functions, in sections of their own; and strings. */
#include "common.h"

struct pair { __u32 left; __u16 right[3]; };

int start = 5;
static int hidden = 6;
__u64 zero;
static __u64 hidden_zero;
const volatile int limit = 100;
static volatile const int hidden_limit = 30;
int named SEC(".data.bw") = 11;
int named_zero SEC(".bss.bw");
const volatile int named_constant SEC(".rodata.bw") = 17;
struct pair pairs[2] = {{1, {2, 3, 4}}, {5, {6, 7, 8}}};

static __noinline int tick(void)
{
	static int count = 40;

	return ++count;
}

static __noinline int tock(void)
{
	static int count = 400;

	return ++count;
}

SEC("syscall") int sum(void *ctx)
{
	hidden++;
	hidden_zero += 2;
	zero += 3;
	named_zero++;
	/* 5+7+2+3+100+30+11+1+17 = 176, and what the loader set of limit */
	return start + hidden + hidden_zero + zero + limit + hidden_limit + named +
	       named_zero + named_constant;
}

SEC("syscall") int statics(void *ctx) { return tick() + tock(); /* 41 + 401 */ }

SEC("syscall") int nested(void *ctx)
{
	pairs[1].right[2] += 1;
	return pairs[0].left + pairs[1].right[2] * 10; /* 91 */
}

SEC("syscall") int text(void *ctx)
{
	static const char word[] = "beewire";
	char other[8] = "beewire";

	return bpf_strncmp(other, sizeof(other), word); /* 0: they are equal */
}
