/* Questions about structures that every kernel has. */
#include "common.h"

#define RELOC __attribute__((preserve_access_index))

struct list_head { struct list_head *next; } RELOC;
struct task_struct {
	int tgid;
	unsigned int flags;
	char comm[16];
	struct task_struct *real_parent;
	struct list_head tasks;
	unsigned sched_reset_on_fork : 1;
	unsigned in_execve : 1;
} RELOC;
struct sk_buff {
	unsigned int len;
	void *dev;
	unsigned char pkt_type : 3;
	unsigned char csum_level : 2;
	int bw_never_there;
} RELOC;
struct task_struct___old { long state; int bw_state; } RELOC;
enum bpf_map_type___bw { BPF_MAP_TYPE_HASH___bw = 1, BPF_MAP_TYPE_BW___bw = 99 };
typedef unsigned long pgd_t;

__u64 out[48];

SEC("syscall") int ask(void *ctx)
{
	struct task_struct *task = 0;
	struct task_struct___old *old = 0;
	struct sk_buff *skb = 0;

	out[0] = (__u64)__builtin_preserve_access_index(&task->comm[3]);
	out[1] = (__u64)__builtin_preserve_access_index(&task->tasks.next);
	out[2] = (__u64)__builtin_preserve_access_index(&skb->dev);
	out[3] = bpf_core_field_size(task->comm);
	out[4] = bpf_core_field_exists(skb->bw_never_there);
	out[5] = bpf_core_field_exists(task->real_parent);
	out[6] = bpf_core_field_exists(old->bw_state);
	out[7] = __builtin_preserve_field_info(task->flags, BPF_FIELD_SIGNED);
	out[8] = __builtin_preserve_field_info(task->tgid, BPF_FIELD_SIGNED);
	out[9] = __builtin_preserve_field_info(task->in_execve, BPF_FIELD_LSHIFT_U64);
	out[10] = __builtin_preserve_field_info(task->in_execve, BPF_FIELD_RSHIFT_U64);
	out[11] = __builtin_preserve_field_info(task->in_execve, BPF_FIELD_BYTE_OFFSET);
	out[12] = __builtin_preserve_field_info(task->in_execve, BPF_FIELD_BYTE_SIZE);
	out[13] = __builtin_preserve_field_info(skb->csum_level, BPF_FIELD_LSHIFT_U64);
	out[14] = __builtin_preserve_field_info(skb->csum_level, BPF_FIELD_RSHIFT_U64);
	out[15] = bpf_core_type_exists(struct task_struct);
	out[16] = bpf_core_type_size(struct sk_buff);
	out[17] = bpf_core_type_id_kernel(struct task_struct);
	out[18] = bpf_core_enum_value_exists(enum bpf_map_type___bw, BPF_MAP_TYPE_HASH___bw);
	out[19] = bpf_core_enum_value_exists(enum bpf_map_type___bw, BPF_MAP_TYPE_BW___bw);
	out[20] = bpf_core_enum_value(enum bpf_map_type___bw, BPF_MAP_TYPE_HASH___bw);
#if __clang_major__ >= 15
	out[21] = __builtin_preserve_type_info(*(struct list_head *)0, 2);
	out[22] = __builtin_preserve_type_info(*(struct task_struct *)0, 2);
#endif
	return 0;
}
