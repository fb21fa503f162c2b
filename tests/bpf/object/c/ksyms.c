/* Functions and variables of the kernel: there, and missing. */
#include "common.h"

struct task_struct;
extern struct task_struct *bpf_task_from_pid(__s32 pid) __ksym;
extern void bpf_task_release(struct task_struct *p) __ksym;
extern void bpf_task_release___flavour(struct task_struct *p) __ksym __weak;
extern long bpf_task_release___wrong(struct task_struct *p, int a, int b) __ksym __weak;
extern int bw_missing_function(int x) __ksym __weak;
extern const int bw_missing_variable __ksym __weak;
extern const void schedule __ksym;
extern const void bw_missing_symbol __ksym __weak;

__u64 address;

SEC("syscall") int functions(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(bpf_get_current_pid_tgid());

	if (!task)
		return -1;
	if (bpf_task_release___flavour)
		bpf_task_release___flavour(task);
	else
		bpf_task_release(task);
	return 1;
}

SEC("syscall") int missing(void *ctx)
{
	int found = 0;

	if (bw_missing_function)
		found += bw_missing_function(1);
	if (bpf_task_release___wrong)
		found += 8;
	if (&bw_missing_variable)
		found += 2;
	if (&bw_missing_symbol)
		found += 4;
	return found;
}

SEC("syscall") int typeless(void *ctx)
{
	address = (__u64)&schedule;
	return address != 0;
}
