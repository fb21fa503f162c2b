"""examples/exec_time.py as BCC has it; prints when it was attached, and its memory."""

import time
from pathlib import Path

from bcc import BPF

SOURCE = r"""
#include <linux/sched.h>

struct exec { u32 pid; u32 ppid; u64 ran_ns; char comm[16]; };
BPF_TABLE("lru_hash", u32, u64, started, 8192);
BPF_RINGBUF_OUTPUT(exits, 64);

TRACEPOINT_PROBE(sched, sched_process_exec)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 now = bpf_ktime_get_ns();

    started.update(&pid, &now);
    return 0;
}

TRACEPOINT_PROBE(sched, sched_process_exit)
{
    u64 id = bpf_get_current_pid_tgid();
    u32 pid = id >> 32;
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    struct exec *e;
    u64 *t0;

    if (pid != (u32)id)
        return 0;
    t0 = started.lookup(&pid);
    if (!t0)
        return 0;
    e = exits.ringbuf_reserve(sizeof(*e));
    if (e) {
        e->pid = pid;
        e->ran_ns = bpf_ktime_get_ns() - *t0;
        bpf_get_current_comm(&e->comm, sizeof(e->comm));
        e->ppid = task->real_parent->tgid;
        exits.ringbuf_submit(e, 0);
    }
    started.delete(&pid);
    return 0;
}
"""

BPF(text=SOURCE)
print(time.clock_gettime(time.CLOCK_REALTIME))
status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
print(next(line for line in status if line.startswith("VmHWM")))
