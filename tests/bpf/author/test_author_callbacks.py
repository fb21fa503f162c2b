"""What the kernel calls back: order of trees, timers, work queues, user rings."""

import os
import time

import pytest

from beewire.bpf import (
    Array,
    HashMap,
    RawTracepoint,
    RbNode,
    RbRoot,
    SpinLock,
    Struct,
    Timer,
    UserRingBuf,
    WorkQueue,
    XdpAction,
    XdpContext,
    current_tgid,
    load,
    lock,
    obj_drop,
    obj_new,
    raw_tracepoint,
    u32,
    u64,
    xdp,
)
from beewire.bpf import Global as Variable

pytestmark = pytest.mark.kernel


class Node(Struct):
    key: u64
    link: RbNode


class Tree(Struct):
    lock: SpinLock
    root: RbRoot[Node]


class Session(Struct):
    count: u64 = 0
    timer: Timer = Timer()


class Job(Struct):
    count: u64
    work: WorkQueue


class Command(Struct):
    number: u32
    value: u64


class Total(Struct):
    value: u64 = 0
    short: u64 = 0


out = Array[u64](max_entries=16)
trees = Array[Tree](max_entries=1)
sessions = HashMap[u32, Session](max_entries=4)
jobs = Array[Job](max_entries=2)
commands = UserRingBuf[Command](size=4096)
process = Variable(u64)


def less(a: Node, b: Node) -> bool:
    return a.key < b.key


@xdp
def trees_in_order(_ctx: XdpContext) -> XdpAction:
    tree = trees.lookup(0)
    if tree is None:
        return XdpAction.ABORTED
    for i in range(4):
        node = obj_new(Node)
        if node is None:
            return XdpAction.ABORTED
        node.key = (i * 7) % 5
        with lock(tree):
            tree.root.add(node, less)
    for i in range(4):
        with lock(tree):
            least = tree.root.first()
            if least is None:
                return XdpAction.DROP
            taken = tree.root.remove(least)
        if taken is None:
            return XdpAction.ABORTED
        out[i] = taken.key
        obj_drop(taken)
    return XdpAction.PASS


def expired(key: u32, session: Session) -> None:
    session.count += 1
    out[0] = key
    if session.count < 3:
        session.timer.start(1_000_000)


def clean_up(key: u32, job: Job) -> None:
    job.count += 5
    out[1] = key + 1


@xdp
def later(_ctx: XdpContext) -> XdpAction:
    sessions[7] = Session()
    if (session := sessions.lookup(7)) is not None:
        out[2] = session.timer.init()
        out[3] = session.timer.set_callback(expired)
        out[4] = session.timer.start(1_000_000)
    if (job := jobs.lookup(1)) is not None:
        job.work.init()
        job.work.set_callback(clean_up)
        out[5] = job.work.start()
    return XdpAction.PASS


@xdp
def cancelled(_ctx: XdpContext) -> XdpAction:
    sessions[7] = Session()
    if (session := sessions.lookup(7)) is not None:
        session.timer.init()
        session.timer.set_callback(expired)
        session.timer.start(3_600_000_000_000)
        out[0] = session.timer.cancel()
        out[1] = session.timer.cancel()
    return XdpAction.PASS


def on_command(command: Command | None, total: Total) -> bool:
    if command is None:
        total.short += 1
        return False
    total.value += command.value
    return command.number == 9


@raw_tracepoint("sys_enter")
def drain(_ctx: RawTracepoint) -> None:
    if current_tgid() != process.value:
        return
    total = Total()
    count = commands.drain(on_command, total)
    if count > 0:
        out[0] += count
        out[1] += total.value
        out[2] += total.short


def test_a_tree_is_ordered_by_a_function() -> None:
    with load([trees_in_order]) as loaded:
        result = loaded[trees_in_order].live.test_run(data_in=bytes(64))

        assert result.retval == XdpAction.PASS
        assert list(loaded[out].values())[:4] == [0, 1, 2, 4]


def test_timers_and_work_queues_call_later() -> None:
    with load([later]) as loaded:
        loaded[later].live.test_run(data_in=bytes(64))
        deadline = time.monotonic() + 60
        while not (loaded[sessions][7].count == 3 and loaded[out][1] == 2):
            assert time.monotonic() < deadline, "timers and work queues do not call"
            time.sleep(0.002)

        assert list(loaded[out].values())[:6] == [7, 2, 0, 0, 0, 0]
        assert loaded[sessions][7].count == 3
        assert loaded[jobs][1].count == 5


def test_a_timer_is_cancelled_once() -> None:
    with load([cancelled]) as loaded:
        loaded[cancelled].live.test_run(data_in=bytes(64))

        assert list(loaded[out].values())[:2] == [1, 0]


def test_programs_drain_what_user_space_sends() -> None:
    with load([drain], globals={"process": os.getpid()}) as loaded:
        ring = loaded[commands]
        sent = [ring.send(Command(number=n, value=n)) for n in (1, 2, 9, 4)]
        ring.writer.submit(b"abc")
        with loaded[drain].attach():
            os.getppid()

        assert sent == [True] * 4
        assert ring.writer.waiting_bytes == 0
        assert list(loaded[out].values())[:3] == [5, 16, 1]


def test_a_full_user_ring_says_so() -> None:
    with load([drain]) as loaded:
        ring = loaded[commands]
        sent = [ring.send(Command(number=n, value=n)) for n in range(200)]

        assert sent.index(False) == 4096 // 24
        room = ring.writer.reserve(4000)
        assert room is None
