"""Deliberate mistakes: each line that says it is wrong is refused by the checkers."""

from enum import IntEnum

from beewire.bpf import (
    Array,
    Global,
    HashMap,
    Kernel,
    LruHash,
    PerCpuArray,
    RingBuf,
    SkStorage,
    SockAddr,
    SockHash,
    SockOps,
    Struct,
    Tracepoint,
    XdpAction,
    XdpContext,
    array,
    chars,
    connect4,
    current,
    current_tgid,
    i32,
    ip4,
    ktime_ns,
    load,
    sock_ops,
    tracepoint,
    u16,
    u32,
    u64,
    xdp,
)


class Exec(Struct):
    pid: u32
    ran_ns: u64
    comm: str = chars(16)
    words: list[u32] = array(u32, 4)


class Key(Struct):
    address: u32
    port: u16


class State(IntEnum):
    OFF = 0
    ON = 1


class task_struct(Kernel):
    real_parent: "task_struct"
    tgid: i32


class sched_process_fork(Tracepoint):
    child_pid: i32


table = HashMap[u32, u64](max_entries=16)
records = LruHash[Key, Exec](max_entries=16)
slots = Array[Exec](max_entries=4)
counters = PerCpuArray[u64](max_entries=4)
events = RingBuf[Exec](size=4096)
state = SkStorage[Exec]()
peers = SockHash[Key](max_entries=4)
settings = Global(Exec)
limit = Global(u32, 7)


@connect4
def references(ctx: SockAddr) -> None:
    found = table.lookup(3)
    found.value += 1  # wrong
    table.lookup("x")  # wrong
    if (record := records.lookup(Key(address=1, port=2))) is not None:
        record.pit = 1  # wrong
        record.comm = 3  # wrong
        record.pid = "1"  # wrong
    records.lookup(3)  # wrong
    with events.reserve() as event:
        event.pid = 1  # wrong
        if event is not None:
            event.pidd = 1  # wrong
    kept = state.get(ctx.sk)
    kept.pid = 1  # wrong
    table.lokup(1)  # wrong
    counters.push(1)  # wrong
    events.lookup(1)  # wrong


@connect4
def values(ctx: SockAddr) -> None:
    table["x"] = 1  # wrong
    table[1] = "x"  # wrong
    records[Key(address=1, port=2)] = 5  # wrong
    events.emit(5)  # wrong
    events.emit(Key(address=1, port=2))  # wrong
    Exec(pidd=1)  # wrong
    Exec(pid="x")  # wrong
    Key(1, 2)  # wrong
    settings.prot = 1  # wrong
    limit.vale = 1  # wrong
    limit.value = "x"  # wrong
    ip4(3)  # wrong
    ktime_ns(3)  # wrong
    current(task_struct).tgit  # wrong
    current(task_struct).real_parent.tgid.pid  # wrong
    State.MAYBE  # wrong
    ctx.user_prot  # wrong
    ctx.user_port = "x"  # wrong
    del table["x"]  # wrong


@xdp
def frames(ctx: XdpContext) -> XdpAction:
    key = ctx.at(0, Key)
    key.port = 1  # wrong
    ctx.at("x", Key)  # wrong
    ctx.user_port  # wrong
    if current_tgid() == 1:
        return "drop"  # wrong
    return XdpAction.DRAP  # wrong


@tracepoint("sched:sched_process_fork")
def forks(ctx: sched_process_fork) -> None:
    ctx.child_pit  # wrong
    ctx.child_pid.value  # wrong


@connect4  # wrong
def other_context(ctx: SockOps) -> None:
    """A context that the hook does not pass."""


@sock_ops
def track(ctx: SockOps) -> None:
    peers.update(ctx, 3)  # wrong
    peers.update(3, Key(address=1, port=2))  # wrong
    ctx.nothing  # wrong


frames.attach()  # wrong
frames.attach(cgroup="x")  # wrong
references.attach(3.5)  # wrong
forks.attach("x")  # wrong
total: str = sum(counters[1])  # wrong
for received in events:
    received.pidd  # wrong
for number in table:
    number.upper()  # wrong
with load(references, globals={"limit": 3}) as loaded:
    loaded[table]["x"]  # wrong
    loaded[settings].prot  # wrong
    loaded[frames].attach(cgroup="x")  # wrong
load(references, globls={})  # wrong
records[3]  # wrong
slots["x"]  # wrong
