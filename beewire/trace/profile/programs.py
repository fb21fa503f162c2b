"""The programs of the profiler: who runs, and who waits, with their stacks.

Stacks are kept in a map by number, and counted in another by process, thread's name and
the numbers of both stacks. Two stacks may have the same place in the map of stacks: what
comes second is sent to user space as it is, so that nothing is lost by that.
"""

from beewire.bpf import (
    CgroupArray,
    Const,
    Global,
    HashMap,
    LruHash,
    PerfEvent,
    RingBuf,
    StackTrace,
    Struct,
    Tracepoint,
    array,
    chars,
    current_comm,
    current_pid_tgid,
    helpers,
    i32,
    i64,
    ktime_ns,
    perf_event,
    tracepoint,
    u8,
    u32,
    u64,
)

DEPTH = 127
STACKS = 16384
TAKEN = -17  # -EEXIST: another stack has the place
ENDED = 0x30  # EXIT_DEAD, EXIT_ZOMBIE: it will not go on
USER_STACK = 1 << 8  # BPF_F_USER_STACK


class Key(Struct):
    """What is counted together; stacks are numbers in `stacks`, or negative errors."""

    tgid: u32
    kernel: i32
    user: i32
    ready: u32  # off-CPU: 1 where it could have run
    comm: str = chars(16)


class Whole(Struct):
    """A sample whose stacks found no place in `stacks`; sizes in bytes, or errors."""

    key: Key
    value: u64
    kernel_size: i64
    user_size: i64
    kernel: list[int] = array(u64, DEPTH)
    user: list[int] = array(u64, DEPTH)


class PidTgid(Struct):
    """`struct bpf_pidns_info`."""

    pid: u32
    tgid: u32


class Wait(Struct):
    """A thread that does not run: since when, and where it stopped."""

    since: u64
    key: Key


class sched_switch(Tracepoint):
    """One thread makes way for another."""

    prev_pid: i32
    prev_state: i64
    next_pid: i32


class sched_process_fork(Tracepoint):
    """A thread or a process starts."""

    child_pid: i32


# What is to be seen. Pids are those of the namespace given, 0 for the machine's own.
namespace_device = Const(u64)
namespace_inode = Const(u64)
some_pids = Const(bool)
some_groups = Const(bool)
want_kernel = Const(bool, True)
want_user = Const(bool, True)
least_ns = Const(u64)

pids = HashMap[u32, u8](max_entries=4096)
# What those have started, by the machine's own numbers.
family = LruHash[u32, u8](max_entries=16384)
groups = CgroupArray(max_entries=1)

counts = HashMap[Key, u64](max_entries=65536)
stacks = StackTrace(max_entries=STACKS, depth=DEPTH)
waits = LruHash[u32, Wait](max_entries=65536)
seen = LruHash[u32, u8](max_entries=16384)
arrivals = RingBuf[u32](size=1 << 16)
wholes = RingBuf[Whole](size=1 << 22, count_dropped=False)  # `lost` does
lost = Global(u64)


def process() -> u32:
    """The process that runs, as user space numbers it; 0 where it is not to be seen."""
    ids = current_pid_tgid()
    tgid = u32(ids >> 32)
    if not u32(ids):
        return u32(0)  # nobody runs
    if namespace_inode.value:
        inner = PidTgid(pid=0, tgid=0)
        if helpers.get_ns_current_pid_tgid(
            namespace_device.value, namespace_inode.value, inner, 8
        ):
            return u32(0)
        tgid = inner.tgid
    if some_pids.value and tgid not in pids and u32(ids >> 32) not in family:
        return u32(0)
    if some_groups.value and groups.has_current_task(0) != 1:
        return u32(0)
    return tgid


def announce(tgid: u32) -> None:
    """Let user space look at a process while it lives."""
    if tgid not in seen:
        seen[tgid] = 1
        arrivals.emit(tgid)


def add(key: Key, value: u64) -> None:
    """Count it, or that there was no room for it."""
    if (total := counts.lookup(key)) is not None:
        total.value += value
    elif counts.insert(key, value) == 0:
        return
    elif (total := counts.lookup(key)) is not None:
        total.value += value  # another CPU was first
    else:
        lost.value += 1


def is_ready(state: i64) -> u32:
    """1 where a thread that stops could go on, by sched_switch's state of it."""
    # 0: it gave way by itself; TASK_REPORT_MAX: it was made to.
    return u32(state == 0 or state & 0x100 != 0)


@perf_event
def on_cpu(ctx: PerfEvent) -> None:
    """Count a sample of what runs."""
    tgid = process()
    if not tgid:
        return
    announce(tgid)
    key = Key(tgid=tgid, kernel=-1, user=-1, ready=0, comm=current_comm())
    if want_kernel.value:
        key.kernel = i32(stacks.stack_id(ctx))
    if want_user.value:
        key.user = i32(stacks.stack_id(ctx, user=True))
    if TAKEN not in (key.kernel, key.user):
        add(key, 1)
        return
    with wholes.reserve() as whole:
        if whole is None:
            lost.value += 1
            return
        whole.key, whole.value = key, 1
        whole.kernel_size = helpers.get_stack(ctx, whole.kernel, 8 * DEPTH, 0)
        whole.user_size = helpers.get_stack(ctx, whole.user, 8 * DEPTH, USER_STACK)


@tracepoint("sched:sched_switch")
def off_cpu(ctx: sched_switch) -> None:
    """Note who stops running, and count how long the next one had to wait."""
    tgid = process()
    now = ktime_ns()
    if tgid and not ctx.prev_state & ENDED:
        key = Key(tgid=tgid, kernel=-1, user=-1, ready=0, comm=current_comm())
        key.ready = is_ready(ctx.prev_state)
        if want_kernel.value:
            key.kernel = i32(stacks.stack_id(ctx))
        if want_user.value:
            key.user = i32(stacks.stack_id(ctx, user=True))
        waits[u32(ctx.prev_pid)] = Wait(since=now, key=key)
        announce(tgid)
    if (wait := waits.lookup(u32(ctx.next_pid))) is None:
        return
    took = now - wait.since
    if took >= least_ns.value:
        add(wait.key, took)
    del waits[u32(ctx.next_pid)]


@tracepoint("sched:sched_process_fork")
def follow(ctx: sched_process_fork) -> None:
    """See what is started by what is to be seen."""
    if process():
        family[u32(ctx.child_pid)] = 1
