"""Features of the selftests: locks, atomics, and objects inside values."""

from beewire.bpf import (
    Array,
    HashMap,
    Kernel,
    Kptr,
    ListHead,
    ListNode,
    RawTracepoint,
    RbNode,
    RbRoot,
    SpinLock,
    Struct,
    Timer,
    WorkQueue,
    XdpAction,
    XdpContext,
    cmpxchg,
    current,
    fetch_add,
    fetch_or,
    fetch_xor,
    i32,
    load_acquire,
    lock,
    obj_drop,
    obj_new,
    raw_tracepoint,
    rcu,
    store_release,
    u32,
    u64,
    xchg,
    xdp,
)


class Account(Struct):
    lock: SpinLock
    balance: u64


class Stats(Struct):
    packets: u64
    flags: u64
    owner: u64


class Session(Struct):
    idle: u64 = 0
    timer: Timer = Timer()


class Work(Struct):
    done: u64 = 0
    queue: WorkQueue = WorkQueue()


class Node(Struct):
    length: u64
    link: ListNode


class Waiting(Struct):
    lock: SpinLock
    nodes: ListHead[Node]


class Due(Struct):
    at: u64
    link: RbNode


class Schedule(Struct):
    lock: SpinLock
    due: RbRoot[Due]


class Plain(Struct):
    number: u64


class Stash(Struct):
    node: Kptr[Plain]


class task_struct(Kernel):
    real_parent: "task_struct"
    tgid: i32


accounts = Array[Account](max_entries=1)
stats = Array[Stats](max_entries=1)
sessions = HashMap[u32, Session](max_entries=4)
works = Array[Work](max_entries=1)
waiting = Array[Waiting](max_entries=1)
schedule = Array[Schedule](max_entries=1)
stashes = Array[Stash](max_entries=1)


@xdp
def spin_locks(ctx: XdpContext) -> XdpAction:
    if (account := accounts.lookup(0)) is None:
        return XdpAction.ABORTED
    with lock(account):
        account.balance += ctx.length
    return XdpAction.PASS


@xdp
def atomic_additions(ctx: XdpContext) -> XdpAction:
    if (it := stats.lookup(0)) is None:
        return XdpAction.ABORTED
    it.packets += 1
    return XdpAction.PASS


@xdp
def atomic_fetches(ctx: XdpContext) -> XdpAction:
    if (it := stats.lookup(0)) is None:
        return XdpAction.ABORTED
    before = fetch_add(it.packets, 2)
    fetch_or(it.flags, 6)
    if fetch_xor(it.flags, 2) != 6 or it.packets != before + 2:
        return XdpAction.DROP
    return XdpAction.PASS


@xdp
def atomic_exchanges(ctx: XdpContext) -> XdpAction:
    if (it := stats.lookup(0)) is None:
        return XdpAction.ABORTED
    xchg(it.owner, 5)
    if cmpxchg(it.owner, 5, 9) != 5 or it.owner != 9:
        return XdpAction.DROP
    return XdpAction.PASS


@xdp
def acquire_and_release(ctx: XdpContext) -> XdpAction:
    if (it := stats.lookup(0)) is None:
        return XdpAction.ABORTED
    store_release(it.owner, 7)
    return XdpAction.PASS if load_acquire(it.owner) == 7 else XdpAction.DROP


@raw_tracepoint("sys_enter")
def rcu_sections(ctx: RawTracepoint) -> int:
    with rcu():
        parent = current(task_struct).real_parent
        return 1 if parent.tgid > 0 else 0


def expired(key: u32, session: Session) -> None:
    session.idle += 1
    session.timer.start(1_000_000_000)


@xdp
def timers(ctx: XdpContext) -> XdpAction:
    sessions[1] = Session()
    if (session := sessions.lookup(1)) is None:
        return XdpAction.DROP
    session.timer.init()
    session.timer.set_callback(expired)
    session.timer.start(1_000_000_000)
    return XdpAction.PASS


def worked(key: u32, work: Work) -> None:
    work.done += 1


@xdp
def work_queues(ctx: XdpContext) -> XdpAction:
    if (work := works.lookup(0)) is None:
        return XdpAction.DROP
    work.queue.init()
    work.queue.set_callback(worked)
    work.queue.start()
    return XdpAction.PASS


@xdp
def linked_lists(ctx: XdpContext) -> XdpAction:
    if (here := waiting.lookup(0)) is None:
        return XdpAction.ABORTED
    if (node := obj_new(Node)) is None:
        return XdpAction.ABORTED
    node.length = ctx.length
    with lock(here):
        here.nodes.push_back(node)
        first = here.nodes.pop_front()
    if first is None:
        return XdpAction.DROP
    same = first.length == ctx.length
    obj_drop(first)
    return XdpAction.PASS if same else XdpAction.DROP


def earlier(a: Due, b: Due) -> bool:
    return a.at < b.at


@xdp
def red_black_trees(ctx: XdpContext) -> XdpAction:
    if (here := schedule.lookup(0)) is None:
        return XdpAction.ABORTED
    if (due := obj_new(Due)) is None:
        return XdpAction.ABORTED
    due.at = ctx.length
    with lock(here):
        here.due.add(due, earlier)
    return XdpAction.PASS


@xdp
def pointers_in_values(ctx: XdpContext) -> XdpAction:
    if (stash := stashes.lookup(0)) is None:
        return XdpAction.ABORTED
    if (node := obj_new(Plain)) is None:
        return XdpAction.ABORTED
    node.number = 42
    if (old := stash.node.xchg(node)) is not None:
        obj_drop(old)
    with rcu():
        now = stash.node.read()
        if now is not None and now.number == 42:
            return XdpAction.PASS
    return XdpAction.DROP
