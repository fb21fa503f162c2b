// SPDX-License-Identifier: Apache-2.0
/* The C twin of process_audit.py. */
#include "kernel.bpf.h"

enum { RECORDED, LOST, COUNTERS };

struct origin {
	__u64 forked_ns;
	__u32 parent;
	char comm[TASK_COMM_LEN];
};

struct audit {
	__u64 ended_ns;
	__u64 lived_ns;
	__u64 user_ns;
	__u64 system_ns;
	__u64 faults;
	__u64 major_faults;
	__u64 switches;
	__u64 preemptions;
	__u32 pid;
	__u32 parent;
	__u32 grandparent;
	__u32 forked_by;
	__u32 uid;
	__u32 euid;
	__u32 mount_ns;
	__u32 net_ns;
	__s32 priority;
	__s32 exit_code;
	__u32 flags;
	__u32 padding;
	char comm[TASK_COMM_LEN];
	char parent_comm[TASK_COMM_LEN];
	char forked_as[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct origin);
} origins SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} audits SEC(".maps");

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

SEC("tracepoint/sched/sched_process_fork")
int on_fork(struct trace_event_raw_sched_process_fork *ctx)
{
	__u32 child = ctx->child_pid;
	struct origin origin = {};

	origin.forked_ns = bpf_ktime_get_ns();
	origin.parent = ctx->parent_pid;
	bpf_get_current_comm(origin.comm, sizeof(origin.comm));
	bpf_map_update_elem(&origins, &child, &origin, BPF_ANY);
	return 0;
}

SEC("tracepoint/sched/sched_process_exit")
int on_exit(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 id = bpf_get_current_pid_tgid();
	__u32 pid = id >> 32;
	struct origin *origin;
	struct audit *a;
	__u64 now;

	if ((__u32)id != pid || BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0;
	now = bpf_ktime_get_ns();
	a = bpf_ringbuf_reserve(&audits, sizeof(*a), 0);
	if (!a) {
		count(LOST);
		return 0;
	}
	a->ended_ns = now;
	a->lived_ns = now - BPF_CORE_READ(task, start_time);
	a->user_ns = BPF_CORE_READ(task, utime);
	a->system_ns = BPF_CORE_READ(task, stime);
	a->faults = BPF_CORE_READ(task, min_flt);
	a->major_faults = BPF_CORE_READ(task, maj_flt);
	a->switches = BPF_CORE_READ(task, nvcsw);
	a->preemptions = BPF_CORE_READ(task, nivcsw);
	a->pid = pid;
	a->parent = BPF_CORE_READ(task, real_parent, tgid);
	a->grandparent = BPF_CORE_READ(task, real_parent, real_parent, tgid);
	a->uid = BPF_CORE_READ(task, cred, uid.val);
	a->euid = BPF_CORE_READ(task, cred, euid.val);
	a->mount_ns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	a->net_ns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	a->priority = BPF_CORE_READ(task, prio);
	a->exit_code = BPF_CORE_READ(task, exit_code);
	a->flags = BPF_CORE_READ(task, flags);
	a->padding = 0;
	BPF_CORE_READ_INTO(&a->comm, task, comm);
	BPF_CORE_READ_INTO(&a->parent_comm, task, real_parent, comm);
	origin = bpf_map_lookup_elem(&origins, &pid);
	if (origin) {
		a->forked_by = origin->parent;
		__builtin_memcpy(a->forked_as, origin->comm, sizeof(a->forked_as));
	} else {
		a->forked_by = 0;
		__builtin_memset(a->forked_as, 0, sizeof(a->forked_as));
	}
	bpf_ringbuf_submit(a, 0);
	count(RECORDED);
	bpf_map_delete_elem(&origins, &pid);
	return 0;
}

char _license[] SEC("license") = "GPL";
