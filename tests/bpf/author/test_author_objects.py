"""Locks, RCU, atomics, lists and counted pointers in values, in the running kernel."""

import pytest

from beewire.bpf import (
    Array,
    HashMap,
    Kptr,
    ListHead,
    ListNode,
    LruHash,
    RingBuf,
    SpinLock,
    Struct,
    Timer,
    XdpAction,
    XdpContext,
    cmpxchg,
    collect,
    fetch_add,
    fetch_and,
    fetch_or,
    fetch_xor,
    load,
    load_acquire,
    lock,
    obj_drop,
    obj_new,
    rcu,
    store_release,
    u8,
    u32,
    u64,
    xchg,
    xdp,
)
from beewire.errors import SpecError

pytestmark = pytest.mark.kernel


class Node(Struct):
    key: u64 = 0
    link: ListNode = ListNode()


class Account(Struct):
    lock: SpinLock
    waiting: ListHead[Node]
    balance: u64


class Stash(Struct):
    node: Kptr[Node]
    count: u64


class Stats(Struct):
    a: u64 = 0
    b: u32 = 0
    c: u32 = 0
    d: u8 = 0


out = Array[u64](max_entries=16)
accounts = Array[Account](max_entries=1)
stashes = Array[Stash](max_entries=1)
events = RingBuf[Stats](size=4096)
stats = HashMap[u32, Stats](max_entries=4)


def spend(account: Account, amount: u64) -> bool:
    with lock(account):
        if account.balance < amount:
            return False
        account.balance -= amount
    return True


@xdp
def locks(_ctx: XdpContext) -> XdpAction:
    if (account := accounts.lookup(0)) is None:
        return XdpAction.ABORTED
    for i in range(6):
        with lock(account):
            if i == 1:
                continue
            account.balance += 10
            if i == 4:
                break
    if spend(account, 35) and not spend(account, 35):
        return XdpAction.PASS
    return XdpAction.DROP


@xdp
def nested(_ctx: XdpContext) -> XdpAction:
    if (account := accounts.lookup(0)) is None:
        return XdpAction.ABORTED
    for i in range(3):
        with events.reserve() as event, rcu():
            if event is None:
                return XdpAction.ABORTED
            event.b = i
            with lock(account):
                account.balance += 1
                if account.balance == 2:
                    continue
                if account.balance == 3:
                    return XdpAction.PASS
    return XdpAction.DROP


@xdp
def lists(_ctx: XdpContext) -> XdpAction:
    account = accounts.lookup(0)
    if account is None:
        return XdpAction.ABORTED
    stash = stashes.lookup(0)
    if stash is None:
        return XdpAction.ABORTED
    for key in range(3):
        made = obj_new(Node)
        if made is None:
            return XdpAction.ABORTED
        made.key = key + 7
        with lock(account):
            if key == 2:
                account.waiting.push_front(made)
            else:
                account.waiting.push_back(made)
    for i in range(3):
        with lock(account):
            taken = account.waiting.pop_back()
        if taken is None:
            break
        out[i] = taken.key
        if i == 1:
            old = stash.node.xchg(taken)
            if old is not None:
                obj_drop(old)
        else:
            obj_drop(taken)
    return XdpAction.PASS


@xdp
def pointers(_ctx: XdpContext) -> XdpAction:
    stash = stashes.lookup(0)
    if stash is None:
        return XdpAction.ABORTED
    made = obj_new(Node)
    if made is None:
        return XdpAction.ABORTED
    made.key = 5
    old = stash.node.xchg(made)
    if old is not None:
        out[0] = old.key
        obj_drop(old)
    with rcu():
        there = stash.node.read()
        if there is not None:
            out[1] = there.key
    taken = stash.node.xchg(None)
    if taken is not None:
        taken.key += 1
        back = stash.node.xchg(taken)
        if back is not None:
            obj_drop(back)
    return XdpAction.PASS


@xdp
def atomics(_ctx: XdpContext) -> XdpAction:
    stats[1] = Stats()
    s = stats.lookup(1)
    if s is None:
        return XdpAction.ABORTED
    out[0] = fetch_add(s.a, 5)
    out[1] = fetch_or(s.a, 8)
    out[2] = fetch_and(s.b, 3)
    out[3] = fetch_xor(s.c, 3)
    out[4] = xchg(s.a, 100)
    out[5] = cmpxchg(s.a, 100, 200)
    out[6] = cmpxchg(s.a, 100, 300)
    if (r := out.lookup(10)) is not None:
        fetch_add(r, 3)
        fetch_add(r.value, 4)
        r.value ^= 1
        r.value |= 16
        r.value &= 0xFE
    return XdpAction.PASS


@xdp
def ordered(_ctx: XdpContext) -> XdpAction:
    s = stats.lookup(1)
    if s is None:
        return XdpAction.ABORTED
    store_release(s.d, 9)
    out[0] = load_acquire(s.d)
    store_release(s.a, 1 << 40)
    out[1] = load_acquire(s.a)
    return XdpAction.PASS


def test_a_lock_is_let_go_on_every_way_out() -> None:
    with load([locks]) as loaded:
        live = loaded[locks].live

        actions = [live.test_run(data_in=bytes(64)).retval for _ in range(3)]

        # 40 come in each time, 35 go out once.
        assert actions == [XdpAction.PASS, XdpAction.PASS, XdpAction.PASS]
        assert loaded[accounts][0].balance == 15
        assert loaded[accounts][0].lock is None


def test_a_lock_inside_of_a_record_is_let_go_before_it() -> None:
    with load([nested]) as loaded:
        result = loaded[nested].live.test_run(data_in=bytes(64))

        assert result.retval == XdpAction.PASS
        assert [event.b for event in loaded[events].poll()] == [0]
        assert loaded[accounts][0].balance == 3


def test_lists_own_what_is_put_into_them() -> None:
    with load([lists]) as loaded:
        live = loaded[lists].live

        actions = [live.test_run(data_in=bytes(64)).retval for _ in range(2)]

        assert actions == [XdpAction.PASS, XdpAction.PASS]
        assert list(loaded[out].values())[:3] == [8, 7, 9]


def test_counted_pointers_are_exchanged_and_read() -> None:
    with load([pointers]) as loaded:
        for _ in range(2):
            loaded[pointers].live.test_run(data_in=bytes(64))

        assert list(loaded[out].values())[:2] == [6, 5]


def test_atomic_operations_give_the_value_before_them() -> None:
    with load([atomics]) as loaded:
        loaded[atomics].live.test_run(data_in=bytes(64))

        assert list(loaded[out].values())[:7] == [0, 5, 0, 0, 13, 100, 200]
        assert loaded[out][10] == 22
        assert loaded[stats][1] == Stats(a=200, c=3)


def test_loads_acquire_and_stores_release() -> None:
    with load([ordered]) as loaded:
        loaded[stats][1] = Stats()
        loaded[ordered].live.test_run(data_in=bytes(64))

        assert list(loaded[out].values())[:2] == [9, 1 << 40]
        assert loaded[stats][1].a == 1 << 40


class Locked(Struct):
    lock: SpinLock
    timer: Timer


forgetful = LruHash[u32, Locked](max_entries=4)


@xdp
def misplaced(_ctx: XdpContext) -> XdpAction:
    return XdpAction.PASS if 1 in forgetful else XdpAction.DROP


def test_values_have_only_what_their_map_may_have() -> None:
    message = "forgetful: values of LruHash cannot have a lock; the kernel allows it in"
    with pytest.raises(SpecError, match=message):
        collect([misplaced])


def test_a_list_needs_to_know_how_its_structs_are_linked() -> None:
    with pytest.raises(SpecError, match="a list of Stats: it has 0 fields that are"):
        ListHead[Stats]
