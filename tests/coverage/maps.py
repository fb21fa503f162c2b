"""Features of the selftests: maps of every kind."""

from beewire.bpf import (
    Arena,
    ArrayOfMaps,
    AttachedStorage,
    BloomFilter,
    CgroupStorage,
    CpuMap,
    DevMap,
    DevMapHash,
    HashMap,
    HashOfMaps,
    InodeStorage,
    Kernel,
    LpmTrie,
    LruHash,
    PerCpuArray,
    PerCpuHash,
    PerfEventArray,
    Queue,
    RawTracepoint,
    RingBuf,
    SkBuff,
    SkMsg,
    SkStorage,
    SockHash,
    SockMap,
    SockOps,
    Stack,
    StackTrace,
    Struct,
    TaskStorage,
    UserRingBuf,
    XdpAction,
    XdpContext,
    XskMap,
    array,
    be32,
    cgroup_skb_egress,
    cpu_id,
    current,
    helpers,
    i32,
    lsm,
    raw_tracepoint,
    sk_msg,
    sock_ops,
    tp_btf,
    u32,
    u64,
    xdp,
)


class Key(Struct):
    source: u32
    target: u32


class Large(Struct):
    words: list[u64] = array(u64, 64)


class Prefix(Struct):
    length: u32
    address: be32


class Event(Struct):
    number: u64
    length: u32
    cpu: u32


class Job(Struct):
    peer: u32
    size: u32


class Node(Struct):
    key: u64
    next: u64


class Total(Struct):
    value: u64


class cgroup(Kernel):
    level: i32


class css_set(Kernel):
    dfl_cgrp: cgroup


class task_struct(Kernel):
    cgroups: css_set


class inode(Kernel):
    i_ino: u64


class file(Kernel):
    f_inode: inode


table = HashMap[Key, u64](max_entries=64)
recent = LruHash[u32, u64](max_entries=64)
large = HashMap[Large, u64](max_entries=4)
keys = PerCpuArray[Large](max_entries=1)
by_cpu = PerCpuHash[u32, u64](max_entries=64)
routes = LpmTrie[Prefix, u32](max_entries=64)
jobs = Queue[Job](max_entries=8)
pile = Stack[u64](max_entries=8)
filter = BloomFilter[u32](max_entries=1000)
events = RingBuf[Event](size=1 << 12)
rings = ArrayOfMaps[RingBuf[Event]](RingBuf[Event](size=1 << 12), max_entries=4)
tenants = HashOfMaps[u32, HashMap[u32, u64]](
    HashMap[u32, u64](max_entries=64), max_entries=16
)
commands = UserRingBuf[Event](size=1 << 12)
samples = PerfEventArray[Event]()
stacks = StackTrace(max_entries=64)
ports = DevMap(max_entries=16)
group = DevMapHash(max_entries=16)
workers = CpuMap(max_entries=1)
sockets = XskMap(max_entries=4)
peers = SockMap[u32](max_entries=16)
pairs = SockHash[Key](max_entries=16)
calls = TaskStorage[u64]()
states = SkStorage[u64]()
groups = CgroupStorage[u64]()
labels = InodeStorage[u64]()
here = AttachedStorage[u64]()
heap = Arena(pages=4)


@xdp
def hash_tables(ctx: XdpContext) -> XdpAction:
    key = Key(source=1, target=2)
    if key in table:
        del table[key]
    if table.insert(key, 40) != 0 or table.insert(key, 1) != -17:
        return XdpAction.DROP
    table[key] += 2
    value = table.lookup(key)
    return XdpAction.PASS if value and value.value == 42 else XdpAction.DROP


@xdp
def least_recently_used(ctx: XdpContext) -> XdpAction:
    recent[ctx.length] = 1
    return XdpAction.PASS if ctx.length in recent else XdpAction.DROP


@xdp
def large_keys(ctx: XdpContext) -> XdpAction:
    if (key := keys.lookup(0)) is None:
        return XdpAction.ABORTED
    large[key] = 1
    return XdpAction.PASS if key in large else XdpAction.DROP


@xdp
def values_of_each_cpu(ctx: XdpContext) -> XdpAction:
    by_cpu[7] = 42
    value = by_cpu.lookup_cpu(7, cpu_id())
    if value is None:
        return XdpAction.DROP
    return XdpAction.PASS if value.value == 42 else XdpAction.DROP


@xdp
def longest_prefixes(ctx: XdpContext) -> XdpAction:
    routes[Prefix(length=8, address=be32(0x0A000000))] = 1
    routes[Prefix(length=24, address=be32(0x0A000000))] = 2
    found = routes.lookup(Prefix(length=32, address=be32(0x0A000002)))
    return XdpAction.PASS if found and found.value == 2 else XdpAction.DROP


@xdp
def queues(ctx: XdpContext) -> XdpAction:
    jobs.push(Job(peer=7, size=ctx.length))
    if (first := jobs.peek()) is None or first.peer != 7:
        return XdpAction.DROP
    return XdpAction.PASS if jobs.pop() is not None else XdpAction.DROP


@xdp
def last_in_first_out(ctx: XdpContext) -> XdpAction:
    pile.push(1)
    pile.push(2)
    top = pile.pop()
    return XdpAction.PASS if top and top.value == 2 else XdpAction.DROP


@xdp
def bloom_filters(ctx: XdpContext) -> XdpAction:
    filter.add(ctx.length)
    return XdpAction.PASS if ctx.length in filter else XdpAction.DROP


@xdp
def ring_buffers(ctx: XdpContext) -> XdpAction:
    with events.reserve() as event:
        if event is None:
            return XdpAction.PASS
        event.number, event.length, event.cpu = 1, ctx.length, cpu_id()
        if ctx.length > 1500:
            events.discard(event)
    return XdpAction.PASS


@xdp
def a_ring_chosen(ctx: XdpContext) -> XdpAction:
    if (ring := rings.lookup(ctx.rx_queue_index & 3)) is not None:
        ring.emit(Event(number=1, length=ctx.length, cpu=cpu_id()))
    return XdpAction.PASS


@xdp
def maps_in_tables(ctx: XdpContext) -> XdpAction:
    if (counts := tenants.lookup(7)) is not None:
        counts[ctx.length] += 1
    return XdpAction.PASS


def on_command(command: Event | None, total: Total) -> None:
    if command is not None:
        total.value += command.number


@raw_tracepoint("sys_enter")
def records_from_user_space(ctx: RawTracepoint) -> int:
    total = Total(value=1)
    commands.drain(on_command, total)
    return total.value


@xdp
def buffers_of_each_cpu(ctx: XdpContext) -> XdpAction:
    samples.output(ctx, Event(number=1, length=ctx.length, cpu=cpu_id()))
    return XdpAction.PASS


@raw_tracepoint("sys_enter")
def stack_traces(ctx: RawTracepoint) -> int:
    return 1 if stacks.stack_id(ctx) >= 0 else 0


@raw_tracepoint("sys_enter")
def stacks_copied(ctx: RawTracepoint) -> int:
    frames = array(u64, 8)
    return 1 if helpers.get_stack(ctx, frames, 64) > 0 and frames[0] else 0


@xdp
def redirect_to_devices(ctx: XdpContext) -> XdpAction:
    return ports.redirect(0, XdpAction.PASS)


@xdp
def broadcasts(ctx: XdpContext) -> XdpAction:
    # BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS
    helpers.redirect_map(group, 0, 8 | 16)
    return XdpAction.PASS


@xdp
def redirect_to_cpus(ctx: XdpContext) -> XdpAction:
    return workers.redirect(0, XdpAction.PASS)


@xdp
def redirect_to_sockets(ctx: XdpContext) -> XdpAction:
    if ctx.rx_queue_index in sockets:
        return sockets.redirect(ctx.rx_queue_index)
    return XdpAction.PASS


@sock_ops
def sockets_in_maps(ctx: SockOps) -> None:
    peers.update(ctx, 0)
    pairs.update(ctx, Key(source=ctx.local_ip4, target=ctx.remote_ip4))


@sk_msg
def messages_redirected(ctx: SkMsg) -> int:
    return pairs.redirect(ctx, Key(source=ctx.remote_ip4, target=ctx.local_ip4))


@cgroup_skb_egress
def values_in_sockets(ctx: SkBuff) -> None:
    sk = ctx.sk
    if sk is not None and (state := states.get_or_create(sk)) is not None:
        state.value += ctx.length


@raw_tracepoint("sys_enter")
def values_in_tasks(ctx: RawTracepoint) -> int:
    count = calls.get_or_create(current(task_struct))
    if count is None:
        return 0
    count.value += 1
    return 1


@tp_btf("sched_switch")
def values_in_cgroups(preempt: bool, prev: task_struct) -> None:
    root = prev.cgroups.dfl_cgrp
    if (count := groups.get_or_create(root)) is not None:
        count.value += 1


@lsm("file_open")
def values_in_files(file: file) -> int:
    inode = file.f_inode
    if (label := labels.get_or_create(inode)) is not None:
        label.value += 1
    return 0


@cgroup_skb_egress
def values_of_attached_cgroups(ctx: SkBuff) -> int:
    here.here().value += ctx.length
    return 1


@xdp
def arenas(ctx: XdpContext) -> XdpAction:
    first = heap.at(0, Node)
    heap.at(first.next, Node).key = ctx.length
    return XdpAction.PASS
