/* A variable of the kernel, by its type. */
#include "common.h"

extern const int bpf_prog_active __ksym;

SEC("syscall") int variable(void *ctx)
{
	const int *active = bpf_this_cpu_ptr(&bpf_prog_active);

	return *active >= 0;
}
