"""An audit record for each process that ends: who it was, what it used, where it ran."""

from beewire.bpf import (
    Kernel,
    LruHash,
    PerCpuArray,
    RingBuf,
    Struct,
    Tracepoint,
    chars,
    current,
    current_comm,
    current_pid,
    current_tgid,
    embedded,
    i32,
    ktime_ns,
    tracepoint,
    u32,
    u64,
)

RECORDED = 0
LOST = 1


class atomic_t(Kernel):
    counter: i32


class signal_struct(Kernel):
    live: atomic_t = embedded()


class kuid_t(Kernel):
    val: u32


class cred(Kernel):
    uid: kuid_t = embedded()
    euid: kuid_t = embedded()


class ns_common(Kernel):
    inum: u32


class mnt_namespace(Kernel):
    ns: ns_common = embedded()


class net(Kernel):
    ns: ns_common = embedded()


class nsproxy(Kernel):
    mnt_ns: mnt_namespace
    net_ns: net


class task_struct(Kernel):
    real_parent: "task_struct"
    group_leader: "task_struct"
    signal: signal_struct
    cred: cred
    nsproxy: nsproxy
    pid: i32
    tgid: i32
    flags: u32
    prio: i32
    nvcsw: u64
    nivcsw: u64
    min_flt: u64
    maj_flt: u64
    start_time: u64
    utime: u64
    stime: u64
    exit_code: i32
    comm: str = chars(16)


class sched_process_fork(Tracepoint):
    parent_pid: i32
    child_pid: i32


class Origin(Struct):
    forked_ns: u64
    parent: u32
    comm: str = chars(16)


class Audit(Struct):
    ended_ns: u64
    lived_ns: u64
    user_ns: u64
    system_ns: u64
    faults: u64
    major_faults: u64
    switches: u64
    preemptions: u64
    pid: u32
    parent: u32
    grandparent: u32
    forked_by: u32
    uid: u32
    euid: u32
    mount_ns: u32
    net_ns: u32
    priority: i32
    exit_code: i32
    flags: u32
    padding: u32
    comm: str = chars(16)
    parent_comm: str = chars(16)
    forked_as: str = chars(16)


origins = LruHash[u32, Origin](max_entries=16384)
audits = RingBuf[Audit](size=1 << 20, count_dropped=False)
counters = PerCpuArray[u64](max_entries=2)


@tracepoint("sched:sched_process_fork")
def on_fork(ctx: sched_process_fork) -> None:
    origin = Origin(forked_ns=ktime_ns(), parent=ctx.parent_pid, comm=current_comm())
    origins[ctx.child_pid] = origin


@tracepoint("sched:sched_process_exit")
def on_exit(ctx: Tracepoint) -> None:
    task = current(task_struct)
    if current_pid() != current_tgid() or task.signal.live.counter != 0:
        return
    now = ktime_ns()
    pid = current_tgid()
    with audits.reserve() as a:
        if a is None:
            counters[LOST] += 1
            return
        a.ended_ns = now
        a.lived_ns = now - task.start_time
        a.user_ns = task.utime
        a.system_ns = task.stime
        a.faults = task.min_flt
        a.major_faults = task.maj_flt
        a.switches = task.nvcsw
        a.preemptions = task.nivcsw
        a.pid = pid
        a.parent = task.real_parent.tgid
        a.grandparent = task.real_parent.real_parent.tgid
        a.uid = task.cred.uid.val
        a.euid = task.cred.euid.val
        a.mount_ns = task.nsproxy.mnt_ns.ns.inum
        a.net_ns = task.nsproxy.net_ns.ns.inum
        a.priority = task.prio
        a.exit_code = task.exit_code
        a.flags = task.flags
        a.padding = 0
        a.comm = task.comm
        a.parent_comm = task.real_parent.comm
        if (origin := origins.lookup(pid)) is not None:
            a.forked_by = origin.parent
            a.forked_as = origin.comm
        else:
            a.forked_by = 0
            a.forked_as = ""
    counters[RECORDED] += 1
    del origins[pid]
