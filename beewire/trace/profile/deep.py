"""The programs that take user stacks as memory, for callers without frame pointers.

Beside `programs`: they send the registers and the innermost part of the stack with each
sample or wait, and user space finds the callers by the unwind tables of the files.
"""

from beewire.bpf import (
    Global,
    HashMap,
    Kernel,
    PerfEvent,
    RingBuf,
    Struct,
    array,
    current,
    current_comm,
    helpers,
    i32,
    ktime_ns,
    perf_event,
    tracepoint,
    u8,
    u32,
    u64,
)
from beewire.trace.profile.programs import (
    ENDED,
    Key,
    announce,
    is_ready,
    least_ns,
    process,
    sched_switch,
    stacks,
    want_kernel,
)

PAGE = 4096
THREADS = 1024
# Where in `struct pt_regs` of x86-64: bp, and ip with what follows.
BP, IP = 32, 128


class task_struct(Kernel):
    """The thread that runs."""


class Interrupted(Struct):
    """The end of `struct pt_regs` of x86-64: what the processor saves."""

    ip: u64
    cs: u64
    flags: u64
    sp: u64


class FramePointer(Struct):
    """rbp, in the middle of it."""

    bp: u64


class Deep(Struct):
    """A sample, or a wait of `took` ns, with the memory from the stack pointer on.

    `since` is when a wait began, 0 while the thread runs. `first` are `first_size` bytes, up to the end of a page; `pages` whole ones follow.
    """

    key: Key
    took: u64
    since: u64
    ip: u64
    sp: u64
    bp: u64
    first_size: u32
    pages: u32
    first: bytes = array(u8, PAGE)
    page0: bytes = array(u8, PAGE)
    page1: bytes = array(u8, PAGE)
    page2: bytes = array(u8, PAGE)
    page3: bytes = array(u8, PAGE)


deeps = RingBuf[Deep](size=1 << 24, count_dropped=False)
# The last wait of each thread; what a new one begins with.
last_waits = HashMap[u32, Deep](max_entries=THREADS)
nothing = Global(Deep)
missed = Global(u64)


def copy_stack(deep: Deep, sp: u64) -> None:
    """Copy memory from `sp` on, as far as it is there."""
    size = u32(PAGE - (sp & (PAGE - 1)))
    if helpers.probe_read_user(deep.first, size, sp):
        return
    deep.first_size = size
    above = sp + size
    if helpers.probe_read_user(deep.page0, PAGE, above):
        return
    deep.pages = 1
    if helpers.probe_read_user(deep.page1, PAGE, above + PAGE):
        return
    deep.pages = 2
    if helpers.probe_read_user(deep.page2, PAGE, above + 2 * PAGE):
        return
    deep.pages = 3
    if helpers.probe_read_user(deep.page3, PAGE, above + 3 * PAGE):
        return
    deep.pages = 4


def fill(deep: Deep) -> None:
    """Note the registers and the stack of the thread that runs."""
    at = Interrupted(ip=0, cs=0, flags=0, sp=0)
    frame = FramePointer(bp=0)
    place = helpers.task_pt_regs(current(task_struct))
    helpers.probe_read_kernel(at, 32, place + IP)
    helpers.probe_read_kernel(frame, 8, place + BP)
    deep.first_size = 0
    deep.pages = 0
    deep.ip = 0
    # Else it is a thread of the kernel.
    if at.cs & 3 == 3:
        deep.ip, deep.sp, deep.bp = at.ip, at.sp, frame.bp
        copy_stack(deep, at.sp)


@perf_event
def on_cpu_deep(ctx: PerfEvent) -> None:
    """Send a sample of what runs."""
    tgid = process()
    if not tgid:
        return
    announce(tgid)
    with deeps.reserve() as deep:
        if deep is None:
            missed.value += 1
            return
        deep.key = Key(tgid=tgid, kernel=-1, user=-1, ready=0, comm=current_comm())
        if want_kernel.value:
            deep.key.kernel = i32(stacks.stack_id(ctx))
        deep.took = 1
        fill(deep)


@tracepoint("sched:sched_switch")
def off_cpu_deep(ctx: sched_switch) -> None:
    """Note where a thread stops, and send what the next one has waited."""
    tgid = process()
    now = ktime_ns()
    if tgid and not ctx.prev_state & ENDED:
        announce(tgid)
        tid = u32(ctx.prev_pid)
        if tid not in last_waits:
            last_waits.insert(tid, nothing)
        if (wait := last_waits.lookup(tid)) is None:
            missed.value += 1
        else:
            key = Key(tgid=tgid, kernel=-1, user=-1, ready=0, comm=current_comm())
            key.ready = is_ready(ctx.prev_state)
            if want_kernel.value:
                key.kernel = i32(stacks.stack_id(ctx))
            wait.key = key
            wait.since = now
            fill(wait)
    if (ended := last_waits.lookup(u32(ctx.next_pid))) is None or not ended.since:
        return
    ended.took = now - ended.since
    ended.since = 0
    if ended.took >= least_ns.value and deeps.output(ended):
        missed.value += 1
