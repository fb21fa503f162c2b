"""Off-CPU time: how long each thread waits before it runs again, and what for."""

from beewire.bpf import (
    Global,
    Kernel,
    LruHash,
    PerCpuHash,
    RawTracepoint,
    RingBuf,
    Struct,
    array,
    chars,
    i32,
    kernel_ptr,
    ktime_ns,
    raw_tracepoint,
    u32,
    u64,
)

MICROSECOND = 1000
SLOTS = 27
TASK_RUNNING = 0
PF_KTHREAD = 0x00200000


class task_struct(Kernel):
    pid: i32
    tgid: i32
    flags: u32
    comm: str = chars(16)


class Stopped(Struct):
    at_ns: u64
    state: u32
    padding: u32


class Waits(Struct):
    slots: list[u64] = array(u64, SLOTS)
    total_us: u64
    longest_us: u64
    preempted: u64
    blocked: u64


class Slow(Struct):
    waited_us: u64
    pid: u32
    tgid: u32
    comm: str = chars(16)


class Settings(Struct):
    slow_us: u64
    tgid: i32
    kernel_threads: bool


stopped = LruHash[u32, Stopped](max_entries=16384)
waits = PerCpuHash[u32, Waits](max_entries=4096)
slow = RingBuf[Slow](size=1 << 16, count_dropped=False)
settings = Global(Settings, Settings(slow_us=100_000))


def is_wanted(task: task_struct) -> bool:
    if not settings.kernel_threads and task.flags & PF_KTHREAD != 0:
        return False
    return settings.tgid == 0 or task.tgid == settings.tgid


def log2(value: u64) -> u32:
    """The position of the highest bit, at most SLOTS - 1."""
    position: u32 = 0
    for _ in range(SLOTS - 1):
        value >>= 1
        if value == 0:
            break
        position += 1
    return position


def account(w: Waits, waited: u64, state: u32) -> None:
    slot = log2(waited)
    if slot < SLOTS:
        w.slots[slot] += 1
    w.total_us += waited
    w.longest_us = max(w.longest_us, waited)
    if state == TASK_RUNNING:
        w.preempted += 1
    else:
        w.blocked += 1


@raw_tracepoint("sched_switch")
def on_switch(ctx: RawTracepoint) -> None:
    before = kernel_ptr(ctx.args[1], task_struct)
    after = kernel_ptr(ctx.args[2], task_struct)
    now = ktime_ns()
    if is_wanted(before):
        pid: u32 = before.pid
        stopped[pid] = Stopped(at_ns=now, state=ctx.args[3])
    if not is_wanted(after):
        return
    next_pid: u32 = after.pid
    if (s := stopped.lookup(next_pid)) is None:
        return
    waited = (now - s.at_ns) // MICROSECOND
    state: u32 = s.state
    del stopped[next_pid]
    tgid: u32 = after.tgid
    if (w := waits.lookup(tgid)) is None:
        waits[tgid] = Waits()
        if (w := waits.lookup(tgid)) is None:
            return
    account(w, waited, state)
    if waited >= settings.slow_us:
        with slow.reserve() as e:
            if e is not None:
                e.waited_us = waited
                e.pid = next_pid
                e.tgid = tgid
                e.comm = after.comm
