// SPDX-License-Identifier: Apache-2.0
/* The C twin of off_cpu.py. */
#include "kernel.bpf.h"

#define MICROSECOND 1000
#define SLOTS 27
#define TASK_RUNNING 0
#define PF_KTHREAD 0x00200000

struct stopped {
	__u64 at_ns;
	__u32 state;
	__u32 padding;
};

struct waits {
	__u64 slots[SLOTS];
	__u64 total_us;
	__u64 longest_us;
	__u64 preempted;
	__u64 blocked;
};

struct slow {
	__u64 waited_us;
	__u32 pid;
	__u32 tgid;
	char comm[TASK_COMM_LEN];
};

struct settings {
	__u64 slow_us;
	__s32 tgid;
	__u8 kernel_threads;
} settings = { .slow_us = 100000 };

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct stopped);
} stopped SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct waits);
} waits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} slow SEC(".maps");

static __always_inline int is_wanted(struct task_struct *task)
{
	if (!settings.kernel_threads && (BPF_CORE_READ(task, flags) & PF_KTHREAD))
		return 0;
	return settings.tgid == 0 || BPF_CORE_READ(task, tgid) == settings.tgid;
}

static __always_inline __u32 log2(__u64 value)
{
	__u32 position = 0;
	int i;

	for (i = 0; i < SLOTS - 1; i++) {
		value >>= 1;
		if (value == 0)
			break;
		position += 1;
	}
	return position;
}

static __always_inline void account(struct waits *w, __u64 waited, __u32 state)
{
	__u32 slot = log2(waited);

	if (slot < SLOTS)
		w->slots[slot] += 1;
	w->total_us += waited;
	if (waited > w->longest_us)
		w->longest_us = waited;
	if (state == TASK_RUNNING)
		w->preempted += 1;
	else
		w->blocked += 1;
}

SEC("raw_tracepoint/sched_switch")
int on_switch(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *before = (void *)ctx->args[1];
	struct task_struct *after = (void *)ctx->args[2];
	__u64 now = bpf_ktime_get_ns(), waited;
	struct waits *w, empty = {};
	struct stopped *s, stop = {};
	__u32 pid, tgid, state;
	struct slow *e;

	if (is_wanted(before)) {
		pid = BPF_CORE_READ(before, pid);
		stop.at_ns = now;
		stop.state = ctx->args[3];
		bpf_map_update_elem(&stopped, &pid, &stop, BPF_ANY);
	}
	if (!is_wanted(after))
		return 0;
	pid = BPF_CORE_READ(after, pid);
	s = bpf_map_lookup_elem(&stopped, &pid);
	if (!s)
		return 0;
	waited = (now - s->at_ns) / MICROSECOND;
	state = s->state;
	bpf_map_delete_elem(&stopped, &pid);
	tgid = BPF_CORE_READ(after, tgid);
	w = bpf_map_lookup_elem(&waits, &tgid);
	if (!w) {
		bpf_map_update_elem(&waits, &tgid, &empty, BPF_ANY);
		w = bpf_map_lookup_elem(&waits, &tgid);
		if (!w)
			return 0;
	}
	account(w, waited, state);
	if (waited >= settings.slow_us) {
		e = bpf_ringbuf_reserve(&slow, sizeof(*e), 0);
		if (e) {
			e->waited_us = waited;
			e->pid = pid;
			e->tgid = tgid;
			BPF_CORE_READ_INTO(&e->comm, after, comm);
			bpf_ringbuf_submit(e, 0);
		}
	}
	return 0;
}

char _license[] SEC("license") = "GPL";
